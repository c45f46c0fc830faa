"""A GRPO training as plain values: curves by step, held-out accuracy with intervals, and rollouts."""

import base64
import gzip
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

from harness.statistics import stats
from harness.storage import validation
from harness.storage.files import read_steps
from harness.storage.run_folder import TRAINING_FILES, Run
from harness.storage.schema import Rollout
from harness.storage.validation import LARGEST_NUMBER
from reports.texts import t

ACCURACY = "rewards/accuracy_strict/mean"
# Okabe and Ito's palette.
COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
INK = ""
SHARE = (-0.03, 1.03)
# Bytes of the rollouts that a page holds.
LARGEST = 2_000_000
TEMPLATES = resources.files("reports") / "templates"
UPLOT_LICENSE, UPLOT, OURS = (
    (TEMPLATES / name).read_text(encoding="utf-8")
    for name in ("uplot/LICENSE", "uplot/uPlot.iife.min.js", "training.js")
)
SCRIPT = f"/*! uPlot:\n{UPLOT_LICENSE}\n*/\n{UPLOT}\n{OURS}"
VERDICTS = {1.0: "correct and in the required format", 0.0: "wrong, or not in the required format"}


@dataclass(frozen=True)
class Line:
    """One curve: a value for every step of the panel's, None where there is none. `color` INK is the page's own."""

    name: str
    color: str
    width: float
    values: tuple[float | None, ...]


@dataclass(frozen=True)
class Point:
    """Held-out problems at one step: the share that is correct, its 95 % interval if known, and all as text."""

    step: int
    value: float
    low: float | None
    high: float | None
    text: str


@dataclass(frozen=True)
class Panel:
    """One plot of a training: curves over `steps`, their unit, and the ends of its axis where these are fixed."""

    unit: str
    ends: tuple[float | None, float | None]
    steps: tuple[int, ...]
    lines: tuple[Line, ...]
    points_named: str = ""
    points: tuple[Point, ...] = ()


@dataclass(frozen=True)
class ShownRollout:
    """One completion and what it scored, in words."""

    text: str
    score: str


@dataclass(frozen=True)
class Step:
    """The completions of one step's first prompt."""

    step: int
    question: str
    answer: str | None
    rollouts: tuple[ShownRollout, ...]


@dataclass(frozen=True)
class Training:
    """What a page shows of a GRPO stage: `steps` are those whose rollouts it holds, of `total` with rollouts.

    `few` are the first, the middle and the last of them, for a page that is printed or has no script; `data` is the
    base64 of gzipped JSON for the page's script.
    """

    panels: tuple[Panel, ...]
    logged: int
    steps: tuple[Step, ...]
    few: tuple[Step, ...]
    total: int
    data: str
    notes: tuple[str, ...]


def build(run: Run, notes: Iterable[str], fix: str) -> Training | None:
    """The training of a run; None where nothing is logged. Raises UserError with the fix if its files are damaged."""
    folder = run.path / "train"
    run.hashes.verify(*(folder / name for name in TRAINING_FILES))
    log = read_steps(folder / "log.jsonl")
    if not log:
        return None
    panels = panels_of(log, read_steps(folder / "probes.jsonl"))
    path = folder / "rollouts.jsonl"
    steps = _steps(validation.check_all(Rollout, read_steps(path), path, fix))
    shown = spread(steps)
    few = tuple(shown[place] for place in dict.fromkeys((0, len(shown) // 2, len(shown) - 1))) if shown else ()
    return Training(panels, len(log), shown, few, len(steps), _packed(panels, shown), tuple(notes))


def panels_of(log: Sequence[Mapping], probes: Sequence[Mapping]) -> tuple[Panel, ...]:
    """The plots of a training, from the rows of its log and of its probes."""
    rows = [(row["step"], _numbers(row)) for row in log]
    points = tuple(filter(None, map(_point, probes)))
    rewards = [key for key in rows[0][1] if key.startswith("rewards/") and key.endswith("/mean") and key != ACCURACY]
    named = [(key, key.split("/")[1], color, 1.2) for key, color in zip(rewards, COLORS, strict=False)]
    divergence = [("kl", "KL from the base", COLORS[5], 1.4)] if any("kl" in row for _, row in rows) else []
    of_trained = (ACCURACY, "of the completions trained on", COLORS[4], 1.0)
    return (
        _panel("mean reward", (None, None), rows, [("reward", "all together", INK, 2.0), *named]),
        _panel("accuracy", SHARE, rows, [of_trained], points),
        _panel(
            "tokens",
            (None, None),
            rows,
            [
                ("completions/mean_length", "mean", COLORS[0], 1.4),
                ("completions/max_length", "longest", COLORS[4], 1.0),
            ],
        ),
        _panel(
            "share",
            SHARE,
            rows,
            [
                ("completions/clipped_ratio", "cut off at the limit", COLORS[5], 1.4),
                ("frac_reward_zero_std", "groups without reward difference", COLORS[2], 1.4),
            ],
        ),
        _panel("nats per token", (0.0, None), rows, [("entropy", "entropy", COLORS[0], 1.4), *divergence]),
    )


def spread(steps: Sequence[Step]) -> tuple[Step, ...]:
    """As many steps as LARGEST bytes of their texts hold, the first and the last among them, at even distances."""
    size = sum(len(json.dumps(_as_rows(step), ensure_ascii=False).encode(errors="replace")) for step in steps)
    if size <= LARGEST or len(steps) < 3:
        return tuple(steps)
    few = max(2, len(steps) * LARGEST // size)
    return tuple(steps[round(place * (len(steps) - 1) / (few - 1))] for place in range(few))


def _panel(
    unit: str,
    ends: tuple[float | None, float | None],
    rows: Sequence[tuple[int, Mapping[str, float]]],
    lines: Iterable[tuple[str, str, str, float]],
    points: tuple[Point, ...] = (),
) -> Panel:
    """A panel from lines given as (key, name, color, width)."""
    curves = (Line(name, color, width, tuple(row.get(key) for _, row in rows)) for key, name, color, width in lines)
    return Panel(unit, ends, tuple(step for step, _ in rows), tuple(curves), "of held-out problems", points)


def _numbers(row: Mapping) -> dict[str, float]:
    """The numbers of a journal's row that a plot can show."""
    return {key: value for key, value in row.items() if type(value) in (int, float) and abs(value) < LARGEST_NUMBER}


def _point(row: Mapping) -> Point | None:
    """A probe's accuracy, with Wilson's interval if it says how many problems were scored."""
    value, correct = _numbers(row).get(ACCURACY), row.get("correct")
    if value is None:
        return None
    n = sum(each is not None for each in correct) if type(correct) is list else 0
    low, high = stats.wilson(value * n, n) if n and 0 <= value <= 1 else (None, None)
    interval = "" if low is None else f" ({low:.2f} … {high:.2f})"
    return Point(row["step"], value, low, high, t(f"{value:.2f}{interval}, step {row['step']}"))


def _steps(rows: Iterable[Mapping]) -> list[Step]:
    by_step = defaultdict(list)
    for row in rows:
        by_step[row["step"]].append(row)
    return [
        Step(
            step,
            group[0]["question"],
            group[0]["answer"],
            tuple(ShownRollout(row["text"], _score(row)) for row in group),
        )
        for step, group in sorted(by_step.items())
    ]


def _score(row: Mapping) -> str:
    rewards = ", ".join(f"{name} {value}" for name, value in row["rewards"].items())
    return f"{t(VERDICTS.get(row['accuracy'], 'not scored'))}; {rewards}"


def _as_rows(step: Step) -> list:
    return [step.step, step.question, step.answer, [[each.text, each.score] for each in step.rollouts]]


def _packed(panels: Sequence[Panel], steps: Sequence[Step]) -> str:
    """{steps: [step], panels: [{unit, ends, lines: [[name, color, width, [value or null]]], points_named, points:
    [[step, value, low, high, text]]}], rollouts: [[step, question, answer, [[text, score]]]]}."""
    steps_of_all = sorted({*panels[0].steps, *(point.step for panel in panels for point in panel.points)})
    data = {
        "steps": steps_of_all,
        "panels": [
            {
                "unit": panel.unit,
                "ends": panel.ends,
                "lines": [
                    [line.name, line.color, line.width, _at(steps_of_all, panel.steps, line.values)]
                    for line in panel.lines
                ],
                "points_named": panel.points_named,
                "points": [[each.step, each.value, each.low, each.high, each.text] for each in panel.points],
            }
            for panel in panels
        ],
        "rollouts": [_as_rows(step) for step in steps],
    }
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def _at(places: Sequence[int], steps: Sequence[int], values: Sequence[float | None]) -> list[float | None]:
    """The values of some steps at all `places`, None at the others."""
    known = dict(zip(steps, values, strict=True))
    return [known.get(place) for place in places]
