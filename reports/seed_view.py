"""Several trainings by one recipe, as a table: a row per seed, then what holds for them together."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from harness.metric_definitions import MetricDefinition, definition_of
from harness.statistics import headline
from harness.storage.run_folder import Run
from harness.types import ACCURACY_FLEXIBLE, DESCRIBED, NOT_COMPARED, Difference, OverSeeds

# The primary metrics have a verdict.
WITHOUT_VERDICT = (DESCRIBED, NOT_COMPARED)
Named = Mapping[str, tuple[MetricDefinition, OverSeeds]]


@dataclass(frozen=True)
class SeedRow:
    """A row of the table: its title, the figure for each metric, and the page with more about it."""

    name: str
    cells: tuple[str, ...]
    page: str = ""


@dataclass(frozen=True)
class Seeds:
    """What the page shows of several trainings: two sentences, the metrics' names, and rows with their figures."""

    sentences: tuple[str, ...]
    metrics: tuple[str, ...]
    rows: tuple[SeedRow, ...]
    over: dict[str, OverSeeds]
    also: bool
    adapters: Mapping[str, Difference]


def build(run: Run, differences: Mapping[str, Difference]) -> Seeds | None:
    """None for a run of one training; `differences` are those of all its adapters together."""
    found = run.seeds()
    if not found:
        return None
    over = {name: each for name, each in found.items() if each.verdict not in WITHOUT_VERDICT and name in differences}
    return Seeds(
        sentences(over, differences), tuple(over), _rows(over, differences), over, bool(run.config.also), differences
    )


def sentences_of(run: Run, differences: Mapping[str, Difference]) -> tuple[str, ...]:
    """The two sentences on a run's trainings; none of a run of one."""
    seeds = build(run, differences)
    return seeds.sentences if seeds else ()


def sentences(over: Mapping[str, OverSeeds], differences: Mapping[str, Difference]) -> tuple[str, ...]:
    """Two: about these adapters, and about the recipe."""
    name = ACCURACY_FLEXIBLE if ACCURACY_FLEXIBLE in over else next(iter(over), None)
    return headline.of_seeds(name, over[name], differences[name]) if name else ()


def _rows(over: Mapping[str, OverSeeds], differences: Mapping[str, Difference]) -> tuple[SeedRow, ...]:
    named = {name: (definition_of(name), each) for name, each in over.items()}
    seeds = list(next(iter(over.values())).deltas) if over else []
    known = [(kind, each, differences[name]) for name, (kind, each) in named.items()]
    single = [
        SeedRow(
            f"seed {seed}", _shown(named, lambda each, seed=seed: each.deltas[seed]), f"seed-{seed}/report/index.html"
        )
        for seed in seeds
    ]
    return (
        *single,
        SeedRow("mean", _shown(named, lambda each: each.delta)),
        SeedRow("from seed to seed (standard deviation)", _spreads(named)),
        SeedRow(
            "these adapters, over problems",
            tuple(kind.interval(each.low, each.high, signed=True) for kind, _, each in known),
        ),
        SeedRow(
            "the recipe, on these problems (Student's t over seeds)",
            tuple(kind.interval(each.seeds_low, each.seeds_high, signed=True) for kind, each in named.values()),
        ),
        SeedRow(
            "the recipe, over seeds and problems",
            tuple(kind.interval(each.low, each.high, signed=True) for kind, each in named.values()),
        ),
        SeedRow("verdict on these adapters", tuple(each.verdict for *_, each in known)),
        SeedRow("verdict on the recipe", tuple(each.verdict for _, each in named.values())),
    )


def _shown(named: Named, value: Callable[[OverSeeds], float]) -> tuple[str, ...]:
    return tuple(kind.show(value(each), signed=True) for kind, each in named.values())


def _spreads(named: Named) -> tuple[str, ...]:
    return tuple(kind.show(each.spread, signed=True).removeprefix("+") for kind, each in named.values())
