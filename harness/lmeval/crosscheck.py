"""A run's replies scored by lm-eval's own gsm8k filters, and by math-verify on the whole reply.

Each is compared with our accuracy_flexible, reply by reply.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib import resources
from itertools import product
from pathlib import Path
from typing import Any

from harness import registry
from harness.console import progress
from harness.parsing import answers
from harness.storage.run_folder import Run, run_and_side
from harness.types import ACCURACY_FLEXIBLE, ACCURACY_STRICT, Completion, Evaluation, Score

TASK = "tasks/gsm8k/gsm8k.yaml"
MATH_VERIFY = "math-verify"
# What lm-eval's filters give where they find no answer.
INVALID = "[invalid]"
FILE = "crosscheck.jsonl"
# The settings of a metric that lm-eval itself reads; all others are arguments of the metric.
NO_ARGUMENTS = ("metric", "aggregation", "higher_is_better", "hf_evaluate")


@dataclass(frozen=True)
class GraderScore:
    """The answer that a grader read in a reply, and whether it is right; None if it took too long."""

    extracted: str | None
    right: bool | None


Grader = Callable[[str, str], GraderScore]


@dataclass(frozen=True)
class CheckedReply:
    """One reply with our score and each grader's."""

    side: str
    completion: Completion
    score: Score
    grader_scores: Mapping[str, GraderScore]

    @property
    def is_right(self) -> bool:
        return self.score.scores[ACCURACY_FLEXIBLE] == 1

    def disagrees(self, grader: str) -> bool:
        right = self.grader_scores[grader].right
        return right is not None and right != self.is_right

    def row(self, grader: str) -> dict[str, Any]:
        """A line of crosscheck.jsonl."""
        return {
            "side": self.side,
            "problem_id": self.completion.problem_id,
            "index": self.completion.index,
            "answer": self.completion.answer,
            "grader": grader,
            "theirs": asdict(self.grader_scores[grader]),
            "ours": {
                "extracted": self.score.extracted,
                ACCURACY_STRICT: self.score.scores[ACCURACY_STRICT],
                ACCURACY_FLEXIBLE: self.score.scores[ACCURACY_FLEXIBLE],
            },
            "reply": self.completion.reply,
        }


@dataclass(frozen=True)
class Summary:
    """A grader over `n` replies of a side: its share right, and how often it agrees with accuracy_flexible.

    `only_they` and `only_we` count the replies that one alone scores as right, `no_answer` those in which the grader
    found none, `too_long` those on which it gave up, which are left out of all else. Shares are None if n is 0.
    """

    n: int
    right: float | None
    agreement: float | None
    only_they: int
    only_we: int
    no_answer: int
    too_long: int


def stored_sides(place: Path) -> tuple[Run, list[Evaluation]]:
    """The run of a place, with all its finished sides or the one named. Raises UserError if there is none."""
    folder, side = run_and_side(place)
    run = Run.open(folder)
    return run, run.chosen_evaluations(side)


def graders() -> dict[str, Grader]:
    """The graders by name: lm-eval's, by the filters of its installed gsm8k task, and math-verify.

    Filters, metric and their settings are read, not copied, so they are those of the version that people run. Its task
    is not built: that would ask the hub for the data. Raises UserError if lm-eval is not installed.
    """
    registry.needs_library("crosscheck", "lm_eval", "lm-eval")
    import yaml
    from lm_eval.filters import build_filter_ensemble

    task = yaml.safe_load(resources.files("lm_eval").joinpath(TASK).read_text(encoding="utf-8"))
    matches = _metric(task["metric_list"][0])
    by_filter: dict[str, Grader] = {}
    for each in task["filter_list"]:
        steps = [(step.pop("function"), step) for step in each["filter"]]
        by_filter[f"lm-eval {each['name']}"] = partial(_by_lm_eval, build_filter_ensemble(each["name"], steps), matches)
    return by_filter | {MATH_VERIFY: _by_math_verify}


def check(side: Evaluation, by: Mapping[str, Grader], quiet: bool = False) -> list[CheckedReply]:
    """Score every scored reply of a side with each grader, in the side's order; unscored ones are left out."""
    scored = [
        (completion, score)
        for completion, score in zip(side.completions, side.scores, strict=True)
        if score.scores[ACCURACY_FLEXIBLE] is not None
    ]
    checked = []
    with progress.bar(side.name, len(scored), quiet=quiet) as bar:
        for completion, score in scored:
            grader_scores = {name: grader(completion.reply, completion.answer) for name, grader in by.items()}
            checked.append(CheckedReply(side.name, completion, score, grader_scores))
            bar.advance()
    return checked


def summarise(checked: Iterable[CheckedReply], grader: str) -> Summary:
    """Compare a grader's scores with ours."""
    pairs = [(each.grader_scores[grader], each.is_right) for each in checked]
    known = [(theirs.right, ours) for theirs, ours in pairs if theirs.right is not None]
    return Summary(
        n=len(known),
        right=_share([theirs for theirs, _ in known]),
        agreement=_share([theirs == ours for theirs, ours in known]),
        only_they=sum(theirs and not ours for theirs, ours in known),
        only_we=sum(ours and not theirs for theirs, ours in known),
        no_answer=sum(theirs.right is not None and theirs.extracted in (None, INVALID) for theirs, _ in pairs),
        too_long=len(pairs) - len(known),
    )


def _share(values: Sequence[bool]) -> float | None:
    return sum(values) / len(values) if values else None


def _metric(settings: Mapping[str, Any]) -> Callable[[str, str], bool]:
    """Whether an extracted text is the true answer, by the metric of a task.

    It drops case, commas, dollar signs and a last period from both, so that `1,2` is 12 to it; of GSM8K's worked
    answers it keeps what follows `#### `, which is the bare answer that a run stores.
    """
    from lm_eval.api.registry import get_metric

    name = settings["metric"]
    arguments = {key: value for key, value in settings.items() if key not in NO_ARGUMENTS}
    function = get_metric(name)
    return lambda extracted, truth: bool(function(predictions=[extracted], references=[truth], **arguments)[name])


def _by_lm_eval(ensemble: Any, matches: Callable[[str, str], bool], reply: str, truth: str) -> GraderScore:
    from lm_eval.api.instance import Instance

    # One instance per reply: of several replies, take_first drops all but the first.
    instance = Instance("generate_until", {}, (), 0, resps=[reply])
    ensemble.apply([instance])
    extracted = instance.filtered_resps[ensemble.name]
    return GraderScore(extracted, matches(extracted, truth))


def _by_math_verify(reply: str, truth: str) -> GraderScore:
    """Score as math-verify's defaults do, gold first; what it read is the text of its last match in the reply."""
    from math_verify.errors import TimeoutException

    try:
        # A bare answer is mathematics to it only between dollar signs.
        gold, given = _parsed(truth if "$" in truth else f"${truth}$"), _parsed(reply)
    except TimeoutException:
        return GraderScore(None, None)
    # An expression is never written out: 9^9^9 would take for ever.
    text = next((each for each in given if isinstance(each, str)), None)
    return GraderScore(text, _same(gold, given))


def _parsed(text: str) -> list:
    from math_verify import parse

    try:
        return parse(text, parsing_timeout=answers.MATH_VERIFY_SECONDS, raise_on_error=True)
    except Exception:  # what math-verify cannot read is no answer, whatever sympy raised
        return []


def _same(gold: list, given: list) -> bool | None:
    """Whether any pair is equal by math-verify; None if none is and one took too long.

    By itself, verify takes a timeout for a difference, or raises at the first error.
    """
    from math_verify import verify
    from math_verify.errors import TimeoutException

    same: bool | None = False
    for pair in product(gold, given):
        try:
            if verify(*pair, timeout_seconds=answers.MATH_VERIFY_SECONDS, raise_on_error=True):
                return True
        except TimeoutException:
            same = None
        except Exception:  # a pair that sympy cannot compare is not equal
            continue
    return same
