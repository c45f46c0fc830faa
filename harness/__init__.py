"""Measure a base model, train it with GRPO, measure it again, and say what changed."""

from importlib import import_module
from typing import TYPE_CHECKING

from harness.version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from harness.notebook import StoredRun

__all__ = ["__version__", "load_run"]


def load_run(path: "str | Path") -> "StoredRun":
    """A run folder's replies, scores and metrics as pandas frames, and its comparison, for a notebook.

    Raises UserError if there is no run, or if none of its sides is finished.
    """
    return import_module("harness.notebook").load_run(path)
