"""Several trainings by one recipe, as a table: a row a seed, then what they come to together."""

from collections.abc import Mapping
from dataclasses import dataclass

from harness import headline
from harness.store import Run
from harness.types import ANSWERED_BY, DESCRIBED, NOT_COMPARED, OverSeeds, measure

# The primary metrics have a verdict.
WITHOUT_VERDICT = (DESCRIBED, NOT_COMPARED)


@dataclass(frozen=True)
class SeedRow:
    """A line of the table: what it is of, the page that has more of it, and the figure for each metric."""

    name: str
    page: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Seeds:
    """What the page shows of several trainings: two sentences, the metrics' names, and rows with their figures."""

    sentences: tuple[str, ...]
    metrics: tuple[str, ...]
    rows: tuple[SeedRow, ...]
    over: dict[str, OverSeeds]
    adapters: Mapping[str, Mapping]


def build(run: Run, differences: Mapping[str, Mapping]) -> Seeds | None:
    """None for a run of one training; `differences` are those of all its adapters together."""
    found = run.seeds()
    if not found:
        return None
    over = {name: each for name, each in found.items() if each.verdict not in WITHOUT_VERDICT and name in differences}
    return Seeds(sentences(over, differences), tuple(over), _rows(over, differences), over, differences)


def sentences_of(run: Run, differences: Mapping[str, Mapping]) -> tuple[str, ...]:
    """The two sentences on a run's trainings; none of a run of one."""
    seeds = build(run, differences)
    return seeds.sentences if seeds else ()


def sentences(over: Mapping[str, OverSeeds], differences: Mapping[str, Mapping]) -> tuple[str, ...]:
    """Two: about these adapters, and about the recipe."""
    name = ANSWERED_BY if ANSWERED_BY in over else next(iter(over), None)
    return headline.of_seeds(name, over[name], differences[name]) if name else ()


def _rows(over: Mapping[str, OverSeeds], differences: Mapping[str, Mapping]) -> tuple[SeedRow, ...]:
    named = [(measure(name), each, differences[name]) for name, each in over.items()]
    seeds = list(next(iter(over.values())).deltas) if over else []

    def row(title: str, cells: list[str], page: str = "") -> SeedRow:
        return SeedRow(title, page, tuple(cells))

    return (
        *(
            row(f"seed {seed}", [kind.show(each.deltas[seed], signed=True) for kind, each, _ in named],
                f"seed-{seed}/report/index.html")
            for seed in seeds
        ),
        row("mean", [kind.show(each.delta, signed=True) for kind, each, _ in named]),
        row("from seed to seed (standard deviation)", [kind.show(each.spread, signed=True).removeprefix("+") for kind, each, _ in named]),
        row("these adapters, over problems",
            [kind.interval(known["low"], known["high"], signed=True) for kind, _, known in named]),
        row("the recipe, on these problems (Student's t over seeds)",
            [kind.interval(each.seeds_low, each.seeds_high, signed=True) for kind, each, _ in named]),
        row("the recipe, over seeds and problems",
            [kind.interval(each.low, each.high, signed=True) for kind, each, _ in named]),
        row("verdict on these adapters", [known["verdict"] for *_, known in named]),
        row("verdict on the recipe", [each.verdict for _, each, _ in named]),
    )  # fmt: skip
