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

    Seconds come from finished stages of earlier runs of the same checkpoint, scaled by the number of replies or
    completions; without such runs they are unknown. The detectable difference assumes that 30 % of the problems
    change sides.
    """
    problems = _problem_count(config)
    replies = _work("before", config, problems)
    return {
        "stages": names,
        "run folder": str(folder),
        "problems": problems or UNKNOWN,
        "replies a side": replies or UNKNOWN,
        "most tokens a side": replies * config.max_tokens if replies else UNKNOWN,
        "training completions": _work("train", config, problems) if "train" in names else 0,
        "detectable difference": _detectable(problems),
        "memory": UNKNOWN,
        "seconds": _seconds(config, names, problems, earlier_runs),
        "settings": config.model_dump(mode="json", exclude_none=True),
    }


def _problem_count(config: Configuration) -> int | None:
    known = datasets.known_size(config)
    if known is None and (config.data or config.dataset not in datasets.DATASETS):
        known = len(datasets.load(config, config.split).problems)
    return min(known, config.limit or known) if known else None


def _detectable(problems: int | None) -> str:
    if not problems:
        return UNKNOWN
    difference = stats.detectable_difference(problems, ASSUMED_CHANGED)
    shown = f"{100 * difference:.1f} pp" if difference else "none"
    return f"{shown} (80 % power, {ASSUMED_CHANGED:.0%} of the problems changing sides)"


def _seconds(config: Configuration, names: list[str], problems: int | None, runs: Path) -> dict[str, float | str]:
    """A stage's seconds in the newest earlier run of the checkpoint, scaled by its replies or completions."""
    seconds: dict[str, float | str] = dict.fromkeys(names, UNKNOWN)
    for record in sorted(runs.glob("*/run.json"), key=lambda path: path.stat().st_mtime):
        run = Run(record.parent)
        try:
            earlier, stored = run.config, run.record
        except UserError:
            continue
        for name, state in stored["stages"].items() if earlier.checkpoint == config.checkpoint else ():
            then = _work(name, earlier, stored["provenance"].get("before", {}).get("problems"))
            now = _work(name, config, problems)
            if name in seconds and state["state"] == "done" and then and now:
                seconds[name] = round(state["seconds"] * now / then, 1)
    return seconds


def _work(stage: str, config: Configuration, problems: int | None) -> int | None:
    """How many replies or completions a stage draws; None where that is not known without the data."""
    if stage == "warm-up":
        return None
    if stage == "train":
        return config.steps * config.prompts_per_step * config.generations
    return problems * config.samples if problems else None
