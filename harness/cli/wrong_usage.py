"""What a wrong option, command or argument is answered with: one line that points at that command's own help."""

from typer import TyperException

from harness.registry import called_here, nearest

PYDANTICS_WORDS = "Value error, "


def line_of(error: TyperException) -> str:
    """One line for a mistake in the words of a command."""
    context, option = getattr(error, "ctx", None), getattr(error, "option_name", None)
    if not context:
        return error.format_message()
    told = error.format_message().rstrip(".").replace(PYDANTICS_WORDS, "")
    if option and hasattr(error, "possibilities"):
        told = f"No such option: {option}{_hint(option, context.command.params)}"
    command = context.command_path.removeprefix(context.find_root().command_path)
    return f"{told}: see harness{command} --help"


def _hint(option: str, parameters: list) -> str:
    """What an unknown option may be: a recipe key, in our or another program's words, or a misspelt option."""
    from harness.config import Configuration
    from harness.names_elsewhere import NAMES_ELSEWHERE

    name = option.lstrip("-").replace("-", "_")
    if name in NAMES_ELSEWHERE:
        ours = NAMES_ELSEWHERE[name].split()[0]
        return f": {called_here(name, NAMES_ELSEWHERE)}" + ("" if ours.startswith("--") else f": --set {ours}=VALUE")
    if name in Configuration.model_fields:
        return f": it is a recipe key: --set {name}=VALUE"
    near = nearest(option, [each for parameter in parameters for each in parameter.opts])
    return f": did you mean {near}?" if near else ""
