"""Measure a base model, train it with GRPO, measure it again, and say what changed."""

from importlib import import_module
from typing import TYPE_CHECKING

from harness.version import __version__

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from harness.notebook import StoredRun

__all__ = ["__version__", "evaluate", "load_run"]


def load_run(path: "str | Path") -> "StoredRun":
    """A run folder's replies, scores and metrics as pandas frames, and its comparison, for a notebook.

    Raises UserError if there is no run, or if none of its sides is finished.
    """
    return import_module("harness.notebook").load_run(path)


def evaluate(model: "Any", tokenizer: "Any", **settings: "Any") -> "StoredRun":
    """Measure a model in memory (transformers', PEFT's or Unsloth's) and return its run, whose page is in its folder.

    With a PEFT adapter on the model there are two sides: `before` is the base, with the adapter off, `after` the model
    with it. The model, its tokenizer and all random numbers are left as they were. `settings` are recipe keys: dataset,
    data, split, limit, format, language, system_prompt, samples, temperature, top_p, max_tokens (tokens of a reply),
    seed, rewards, … (`harness settings` lists them); besides them `output`, the run folder (default: below runs/; an
    older run there is kept under another name), `batch_size` (replies at once, 64) and `quiet`.

    Raises UserError if a setting, the data or the model is not what can be measured.
    """
    return import_module("harness.in_memory").evaluate(model, tokenizer, **settings)
