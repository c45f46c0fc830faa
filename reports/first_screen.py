"""What a report says first: what was measured, on what, when and where, and what its verdict is about."""

from collections.abc import Sequence

from harness.statistics import headline
from harness.statistics.metric_rows import MARKS
from harness.storage.run_folder import Run
from harness.types import ACCURACY_FLEXIBLE, ACCURACY_STRICT, Difference, Evaluation
from reports.rows import model_title, problems_of

# The metrics of headline.lines, in their order.
OF_LINES = (headline.LAYOUT, ACCURACY_FLEXIBLE, ACCURACY_STRICT)


def measured(run: Run, sides: Sequence[Evaluation]) -> dict[str, str]:
    """Model, data, problems, date and device of a run, by what each is called; without those that are not known."""
    config, last = run.config, sides[-1]
    replies = len(last.completions) / max(problems_of(last), 1)
    each = f", {replies:.3g} replies to each" if replies != 1 else ""
    devices = dict.fromkeys(str(side.provenance["device"]) for side in sides if side.provenance.get("device"))
    known = {
        "model": model_title(config.name, config.checkpoint),
        "data": f"{config.dataset}, {config.split}",
        "problems": f"{problems_of(last):,}{each}",
        "generated on": _day(run, sides),
        "device": ", ".join(devices),
    }
    return {name: text for name, text in known.items() if text}


def about(run: Run, sides: Sequence[Evaluation]) -> tuple[str, ...]:
    """What the verdict of a run is about: which adapter, where there is one, and which problems."""
    one = (headline.ABOUT_ONE_ADAPTER,) if len(sides) > 1 and not run.config.training_seeds else ()
    problems = (
        f"It is about problems like these {problems_of(sides[-1]):,} of {run.config.dataset} in the format "
        f"{run.config.format}: on others, or with another prompt, the model may do otherwise."
    )
    return *one, problems


def marks(differences: dict[str, Difference]) -> tuple[str, ...]:
    """The classes of the lines on a page, by the verdicts of their metrics."""
    found = (differences.get(name) for name in OF_LINES)
    return tuple(MARKS.get(each.verdict, "none") if each else "none" for each in found)


def _day(run: Run, sides: Sequence[Evaluation]) -> str:
    """The day on which the last reply was generated, in UTC; empty where that is not known."""
    times = [time for side in sides if (time := run.generated(side.name))]
    return f"{max(times):%Y-%m-%d}" if times else ""
