"""The one exception that is shown to a user instead of a traceback."""


class UserError(Exception):
    """A mistake of the user's: one line that names it and the fix. The command line exits with 2."""
