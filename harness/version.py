"""The version, as run folders and exports record it."""

__version__ = "0.2.0"
