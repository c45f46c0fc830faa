"""The smallest difference that a run can see, and how many problems a given one needs."""

from contextlib import suppress

from harness.errors import UserError
from harness.plan.case import UNKNOWN, Case
from harness.statistics import power, sequential
from harness.statistics.differences import primary_metrics
from harness.storage.run_folder import Run

ASSUMED_CHANGED, FEWEST_PAIRS = 0.3, 50
EXPECTED_FOR = (0.05, 0.1)


def detectable_difference(case: Case) -> str:
    """The smallest difference that the run's problems show, with the assumptions."""
    if not case.problems:
        return UNKNOWN
    changed, source = _changed(case)
    difference = power.detectable_difference(case.problems, changed, tests=_tests(case))
    shown = f"{100 * difference:.1f} pp" if difference else "none"
    return f"{shown} ({_assumptions(case, changed, source)})"


def problems_needed(case: Case, difference: float, whole: int | None) -> str:
    """How many problems a difference (a share) needs, and whether the `whole` split has them."""
    changed, source = _changed(case)
    if changed < difference:
        changed, source = difference, "the least that such a difference needs"
    needed = power.problems_needed(difference, changed, tests=_tests(case))
    text = f"{needed} to see {100 * difference:.3g} pp ({_assumptions(case, changed, source)})"
    if whole and needed > whole:
        return f"{text}: more than the {whole} that there are"
    return f"{text}: more than --limit {case.config.limit}" if case.config.limit and needed > case.problems else text


def plan_of_looks(case: Case) -> dict[str, str]:
    """With --stop-early: after how many problems the looks are, and how many problems are asked on average."""
    metric = case.config.primary
    if not case.problems:
        return {"metric": metric, "looks": UNKNOWN}
    at, changed = sequential.looks_at(case.problems), _changed(case)
    *first, last = (f"{problems:,}" for problems in at)
    plan = {"metric": metric, "looks": f"{len(at)}, after {', '.join(first)} and {last} problems" if first else last}
    return (
        plan
        | {"at most": f"{case.problems * case.config.samples_of(adapted=True):,} replies with the adapter"}
        | {
            f"for +{100 * difference:g} points": _expected(case.problems, difference, *changed)
            for difference in EXPECTED_FOR
        }
    )


def _expected(problems: int, difference: float, changed: float, source: str) -> str:
    if changed < 2 * difference:
        changed, source = 2 * difference, "twice that difference"
    asked = sequential.expected_problems(problems, difference, changed)
    return f"about {asked:,.0f} problems on average ({100 * changed:.2g} % of the answers changing, {source})"


def _tests(case: Case) -> int:
    """How many metrics get a verdict, each of which counts against the others."""
    return 1 if case.config.primary else len(primary_metrics(case.config.target_language))


def _assumptions(case: Case, changed: float, source: str) -> str:
    several = max(case.config.samples_of(adapted) for adapted in (False, True)) > 1
    more = "; this is for one reply per problem, with more of them a smaller difference shows" if several else ""
    more += "; of one adapter, not of the recipe" if case.config.training_seeds else ""
    among = "" if case.config.primary else f", corrected for {_tests(case)} metrics (Holm)"
    return f"80 % power of the exact McNemar test{among}, {100 * changed:.2g} % of the answers changing, {source}{more}"


def _changed(case: Case) -> tuple[float, str]:
    """The share of problems whose score differs between the sides, with its source.

    From the newest comparison of the checkpoint on the dataset in the format, else assumed.
    """
    for run in case.earlier:
        if all(getattr(run.config, key) == getattr(case.config, key) for key in ("dataset", "data", "format")):
            flips = {}
            with suppress(UserError):  # a run without a whole comparison tells nothing
                flips = Run(run.path).comparison()["flips"]
            changed = flips.get("gained", 0) + flips.get("lost", 0)
            if changed and sum(flips.values()) >= FEWEST_PAIRS:
                return changed / sum(flips.values()), f"as in {run.path}"
    return ASSUMED_CHANGED, "which is assumed"
