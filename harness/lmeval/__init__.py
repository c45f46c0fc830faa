"""The bridge to lm-eval: our tasks in its world, its tasks in our report."""

from pathlib import Path

OURS = Path(__file__).parent / "tasks"
