"""The plots of a training and of the languages: rewards, accuracy, lengths and health by step."""

from collections.abc import Mapping, Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from reports.plots import INK, SIDE_COLORS, STYLE, WIDTH, Plot, label, rendered
from reports.training_view import Panel


def language_bars(counts: Mapping[str, Mapping[str, int]], samples: int) -> Plot:
    """How many of the first replies reason in which language, by side."""
    languages = list(dict.fromkeys(language for side in counts.values() for language in side))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 0.55 * len(languages) + 1.1), layout="constrained")
        axes = figure.subplots()
        for place, (side, by_language) in enumerate(counts.items()):
            rows = [row + (place - (len(counts) - 1) / 2) * 0.36 for row in range(len(languages))]
            values = [by_language.get(language, 0) for language in languages]
            bars = axes.barh(rows, values, 0.34, color=SIDE_COLORS[side], label=side)
            axes.bar_label(bars, padding=3, fontsize=9)
        axes.set_yticks(range(len(languages)), [label(language) for language in languages])
        axes.invert_yaxis()
        axes.set_xlim(0, samples * 1.06)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel(f"of {samples} replies")
        figure.legend(loc="outside upper right", ncols=3)
        return rendered(figure, "languages", f"Languages of the reasoning in the first {samples} replies of each side.")


def training_curves(panels: Sequence[Panel], logged: int) -> Plot:
    """Rewards by function, accuracy, length of the completions, and the health of the training, by step.

    `logged` is how many steps the log has.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 8.2), layout="constrained")
        heights = (2.2, *[1] * (len(panels) - 1))
        for axes, panel in zip(
            figure.subplots(len(panels), 1, sharex=True, height_ratios=heights), panels, strict=True
        ):
            _curves(axes, panel)
        axes.set_xlabel("step")
        held_out = " (of held-out problems with 95 % intervals)" if _has_intervals(panels) else ""
        caption = f"Training: rewards, accuracy{held_out}, lengths and health over {logged} steps."
        return rendered(figure, "training", caption)


def _has_intervals(panels: Sequence[Panel]) -> bool:
    return any(point.low is not None for panel in panels for point in panel.points)


def _curves(axes: Axes, panel: Panel) -> None:
    for line in panel.lines:
        values = [float("nan") if value is None else value for value in line.values]
        axes.plot(panel.steps, values, color=line.color or INK, linewidth=line.width, label=label(line.name))
    if panel.points:
        axes.vlines(
            [point.step for point in panel.points if point.low is not None],
            [point.low for point in panel.points if point.low is not None],
            [point.high for point in panel.points if point.low is not None],
            color=INK,
            linewidth=1.2,
        )
        steps, values = zip(*((point.step, point.value) for point in panel.points), strict=True)
        axes.plot(steps, values, "o-", color=INK, linewidth=1.0, markersize=5, label=panel.points_named)
    axes.set_ylim(*panel.ends)
    axes.set_ylabel(panel.unit)
    axes.legend(fontsize=7, ncols=2)
