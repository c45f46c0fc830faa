"""lm-eval: our tasks for it, its tasks in our report, its filters on our replies."""

from pathlib import Path

OURS = Path(__file__).parent / "tasks"
