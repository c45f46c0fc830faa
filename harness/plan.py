"""What a run would do, from names and figures alone: no data, no model, no network."""

from pathlib import Path

from harness import datasets, stats
from harness.config import Configuration
from harness.errors import UserError
from harness.store import Run

UNKNOWN = "unknown"
ASSUMED_CHANGED = 0.3


def make_plan(config: Configuration, names: list[str], folder: Path, earlier_runs: Path) -> dict:
    """Stages, settings, tokens, seconds and the smallest difference that the run can see.

    Seconds are those of finished stages of earlier runs of the same checkpoint, scaled by the work; without
    such runs they are unknown. The detectable difference assumes that 30 % of the problems change sides.
    """
    problems = _problem_count(config)
    replies = problems * config.samples if problems else None
    return {
        "stages": names,
        "run folder": str(folder),
        "problems": problems or UNKNOWN,
        "replies a side": replies or UNKNOWN,
        "most tokens a side": replies * config.max_tokens if replies else UNKNOWN,
        "training completions": config.steps * config.prompts_per_step * config.generations
        if "train" in names else 0,
        "detectable difference": f"{stats.detectable_difference(problems, ASSUMED_CHANGED):.1%} (80 % power, "
        f"{ASSUMED_CHANGED:.0%} of the problems changing sides)" if problems else UNKNOWN,
        "seconds": _seconds(config, names, earlier_runs),
        "settings": config.model_dump(mode="json", exclude_none=True),
    }  # fmt: skip


def _problem_count(config: Configuration) -> int | None:
    known = datasets.known_size(config)
    if known is None and (config.data or config.dataset not in datasets.DATASETS):
        known = len(datasets.load(config, config.split).problems)
    return min(known, config.limit or known) if known else None


def _seconds(config: Configuration, names: list[str], earlier_runs: Path) -> dict[str, float | str]:
    seconds: dict[str, float | str] = dict.fromkeys(names, UNKNOWN)
    for record in sorted(earlier_runs.glob("*/run.json")):
        run = Run(record.parent)
        try:
            same = run.config.checkpoint == config.checkpoint
        except UserError:
            continue
        for name, state in run.record["stages"].items() if same else ():
            if name in seconds and state["state"] == "done":
                seconds[name] = state["seconds"]
    return seconds
