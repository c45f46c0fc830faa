"""Which replies of two sides belong together, and whether anything but the model tells the sides apart."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.findings import same_model
from harness.types import AS_STORED, Completion, Evaluation, Score

ASKED_BY = ("dataset", "format", "language", "temperature", "top_p", "top_k", "min_p", "max_tokens")
MADE_BY = ("device", "dtype", "weights", "batch_size")
NOT_RECORDED = object()


def columns(scores: Sequence[Score]) -> dict[str, np.ndarray]:
    """Each score's values in the order of the replies; what is not scored is NaN."""
    names = dict.fromkeys(name for score in scores for name in score.scores)
    return {name: np.array([score.scores.get(name) for score in scores], dtype=float) for name in names}


@dataclass(frozen=True)
class Pairs:
    """The replies of two sides to the same problem at the same index.

    `asked` are the first side's, `problems` numbers their problems.
    """

    asked: tuple[Completion, ...]
    before: tuple[Score, ...]
    after: tuple[Score, ...]
    problems: np.ndarray

    def __len__(self) -> int:
        return len(self.before)


def pair(before: Evaluation, after: Evaluation, same_prompts: bool = True) -> Pairs:
    """Pair the replies of two sides; with `same_prompts` only those to the same rendered prompt."""
    prompts = {each.place: each.prompt_sha for each in after.completions}
    scores = {score.place: score for score in after.scores}
    matched = [
        (completion, score, scores[completion.place])
        for completion, score in zip(before.completions, before.scores, strict=True)
        if completion.place in prompts and (not same_prompts or prompts[completion.place] == completion.prompt_sha)
    ]
    asked, old, new = zip(*matched, strict=True) if matched else ((), (), ())
    _, problems = np.unique([score.problem_id for score in old], return_inverse=True)
    return Pairs(asked, old, new, problems)


@dataclass(frozen=True)
class Values:
    """Each score of two sides, row by row: a row a pair of replies, or a problem where the sides have different numbers
    of replies to it, with the mean of each side's.

    `asked` are the first side's, `problems` numbers their problems.
    """

    asked: tuple[Completion, ...]
    before: dict[str, np.ndarray]
    after: dict[str, np.ndarray]
    problems: np.ndarray


def paired_values(before: Evaluation, after: Evaluation, same_prompts: bool = True) -> Values:
    """Pair the values of two sides; with `same_prompts` only where both have replies to the same rendered prompt."""
    if not uneven(before, after):
        pairs = pair(before, after, same_prompts)
        return Values(pairs.asked, columns(pairs.before), columns(pairs.after), pairs.problems)
    both = asked_of_both(before, after, same_prompts)
    first = {each.problem_id: each for each in reversed(before.completions)}
    asked = tuple(first[problem] for problem in both)
    return Values(asked, problem_means(before.scores, both), problem_means(after.scores, both), np.arange(len(both)))


def by_problem(values: np.ndarray, problems: np.ndarray) -> np.ndarray:
    """The mean of each problem's values."""
    _, groups = np.unique(problems, return_inverse=True)
    return np.bincount(groups, weights=values) / np.bincount(groups)


def problem_means(scores: Sequence[Score], problems: Sequence[str]) -> dict[str, np.ndarray]:
    """Each score's mean over a problem's replies, in the order of `problems`; NaN where none of them is scored."""
    place = {problem: number for number, problem in enumerate(problems)}
    kept = [score for score in scores if score.problem_id in place]
    groups = np.array([place[score.problem_id] for score in kept], dtype=int)
    means = {}
    for name, values in columns(kept).items():
        scored = ~np.isnan(values)
        sums = np.bincount(groups[scored], weights=values[scored], minlength=len(problems))
        counts = np.bincount(groups[scored], minlength=len(problems))
        means[name] = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    return means


def asked_of_both(one: Evaluation, other: Evaluation, same_prompts: bool = False) -> list[str]:
    """The problems that both sides have replies to, in the first one's order; with `same_prompts` to one prompt."""
    first, second = ({each.problem_id: each.prompt_sha for each in side.completions} for side in (one, other))
    return [each for each, sha in first.items() if each in second and (not same_prompts or second[each] == sha)]


def uneven(one: Evaluation, other: Evaluation) -> bool:
    """Whether two sides have different numbers of replies to a problem that both have."""
    counts = [Counter(each.problem_id for each in side.completions) for side in (one, other)]
    return any(counts[0][problem] != counts[1][problem] for problem in counts[0].keys() & counts[1].keys())


def uneven_by_configuration(one: Evaluation, other: Evaluation) -> bool:
    """Whether two sides have different numbers of replies to a problem because one configuration asks for that."""
    asked = any(one.settings.get(key) is not None for key in ("baseline_samples", "training_seeds"))
    return asked and one.settings == other.settings and uneven(one, other)


def of_several_adapters(settings: Mapping[str, Any], provenance: Mapping[str, Any]) -> bool:
    """Whether a side has the replies of all adapters of several trainings."""
    return settings.get("training_seeds") is not None and bool(provenance.get("adapter"))


def common(one: Evaluation, other: Evaluation) -> int:
    """How many replies of two sides are to the same problem at the same index."""
    return len({each.place for each in one.completions} & {each.place for each in other.completions})


def unlike(one: Evaluation, other: Evaluation) -> dict[str, str]:
    """The differences of two sides besides the model, in words by setting; empty for a clean pair."""
    differences = {}
    prompts = {each.place: each.prompt_sha for each in other.completions}
    both = [(each.prompt_sha, prompts[each.place]) for each in one.completions if each.place in prompts]
    if any(old != new for old, new in both if old and new):
        differences["prompts"] = "the prompts differ"
    elif not all(old and new for old, new in both):
        differences["prompts"] = "the prompts of one are not known"
    for key in ASKED_BY:
        values = [side.settings.get(key, NOT_RECORDED) for side in (one, other)]
        if values[0] != values[1]:
            differences[key] = f"{key}: {shown(values[0])} and {shown(values[1])}"
    engines = [engine(side) for side in (one, other)]
    if engines[0] != engines[1]:
        differences["engine"] = f"engine: {engines[0]} and {engines[1]}"
    return differences


def provenance_differences(one: Evaluation, other: Evaluation) -> list[str]:
    """The recorded differences of machine, batch size and library versions, each in words: `batch_size 32 and 64`."""
    made = {key: (one.provenance.get(key), other.provenance.get(key)) for key in MADE_BY}
    now, then = (each.provenance.get("versions") or {} for each in (one, other))
    made |= {name: (now[name], then[name]) for name in now if name in then}
    recorded = {name: each for name, each in made.items() if None not in each}
    return [f"{name} {new} and {old}" for name, (new, old) in recorded.items() if new != old]


def other_weights(sides: Iterable[tuple[str, Mapping[str, Any], Mapping[str, Any]]]) -> list[str]:
    """Where sides were evaluated on other weights than their recipe trains on, a sentence for those that are alike.

    A side is its name, its settings and its provenance.
    """
    notes: dict[str, list[str]] = {}
    for name, settings, provenance in sides:
        used, trained = provenance.get("weights"), settings.get("weights")
        if used and trained and used not in (trained, AS_STORED):
            why = provenance.get("replaced", {}).get("weights")
            text = f"evaluated on {used} weights{f' ({why})' if why else ''}, the recipe trains on weights = {trained}"
            notes.setdefault(text, []).append(name)
    return [f"{' and '.join(names)}: {text}: see eval_weights" for text, names in notes.items()]


def changed_models(sides: Iterable[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """The sides under which a server changed its model, a sentence each. A side is its name and its provenance."""
    known = ((name, same_model(provenance)) for name, provenance in sides)
    return [each.in_words(name) for name, each in known if each and each.is_another]


def engine(side: Evaluation) -> str:
    """The engine of a side: the one that was used, where that is recorded, else the one asked for."""
    used = side.provenance.get("engine") or side.settings.get("engine", NOT_RECORDED)
    return shown(used)


def with_variant(name: str, settings: Iterable[Mapping[str, Any]]) -> str:
    """A metric's name as people read it: a reward of our presets with the variant that scored the sides."""
    ours = (each for each in settings if not str(each.get("rewards")).endswith(".py"))
    variants = dict.fromkeys(each["variant"] for each in ours if each.get("variant"))
    return f"{name} ({' and '.join(variants)})" if variants and name.startswith("reward/") else name


def shown(value: Any) -> str:
    """A setting as text."""
    if value is NOT_RECORDED:
        return "not known"
    return "not set" if value is None else str(value)
