"""How many replies reason in the target language, with and without an adapter, and whether that is more than chance."""

from collections.abc import Sequence
from dataclasses import dataclass

from harness.parsing.language import CONFUSED_WITH, language_name
from harness.statistics import power, stats
from harness.statistics.compare import language_counts
from harness.statistics.differences import SIGNIFICANT
from harness.types import Evaluation, Score


@dataclass(frozen=True)
class LanguageCount:
    """One side: how many of `n` replies are in the target language, with Wilson's interval, and every language."""

    side: str
    hits: int
    n: int
    low: float
    high: float
    languages: dict[str, int]


@dataclass(frozen=True)
class LanguageDifference:
    """Two sides on the same prompts. `needed` problems would show the difference seen, None where there is none."""

    gained: int
    lost: int
    fisher: float
    paired: float
    needed: int | None

    @property
    def is_significant(self) -> bool:
        return self.paired < SIGNIFICANT


def count(side: Evaluation, target: str) -> LanguageCount:
    """Count the languages of one side's reasoning; a reply without a reasoning part counts by its whole text."""
    hits, n = sum(score.language == target for score in side.scores), len(side.scores)
    low, high = stats.wilson(hits, n)
    return LanguageCount(side.name, hits, n, low, high, language_counts(side.scores))


def difference(before: Sequence[Score], after: Sequence[Score], target: str) -> LanguageDifference:
    """Test two sides: Fisher's test of the counts as if unpaired, McNemar's of the same prompts; both exact."""
    pairs = [(old.language == target, new.language == target) for old, new in zip(before, after, strict=True)]
    gained, lost = pairs.count((False, True)), pairs.count((True, False))
    hits = [sum(side) for side in zip(*pairs, strict=True)]
    return LanguageDifference(
        gained,
        lost,
        stats.fisher_exact((hits[0], hits[1]), (len(pairs), len(pairs))),
        stats.mcnemar_exact(gained, lost),
        power.problems_needed((gained - lost) / len(pairs), (gained + lost) / len(pairs)),
    )


def in_words(sides: Sequence[LanguageCount], change: LanguageDifference | None, target: str) -> list[str]:
    """The conclusions from the counts, one sentence each."""
    sentences = []
    if change:
        n, word = sides[0].n, "more" if change.gained > change.lost else "fewer"
        counts = " against ".join(f"{side.hits}/{side.n}" for side in reversed(sides))
        if change.is_significant:
            sentences.append(f"{counts}: with the adapter {word} replies are in {language_name(target)}.")
        elif change.needed is None:
            sentences.append(f"{counts}: no difference seen, and {n} samples would show only a large one.")
        else:
            sentences.append(
                f"{counts}: {n} samples cannot tell this from chance; a difference of this size needs about "
                f"{change.needed} problems (paired, 80 % power)."
            )
    for confused in CONFUSED_WITH.get(target, ()):
        counts = ", ".join(f"{side.side} {side.languages.get(confused, 0)}" for side in sides)
        sentences.append(
            f"langid labels some {language_name(target)} as {language_name(confused)} ({confused}): {counts}."
        )
    return sentences
