"""Measure a base model, train it with GRPO, measure it again, and say what changed."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from harness.notebook import StoredRun

__version__ = "0.2.0"


def load_run(path: "str | Path") -> "StoredRun":
    """A run folder's replies, scores and metrics as pandas frames, and its comparison, for a notebook.

    A UserError where there is no run, or none of its sides is finished.
    """
    return import_module("harness.notebook").load_run(path)
