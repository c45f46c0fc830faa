"""The report's plots: SVG for the page, in the page's own text colour, and PNG files beside it."""

import io
import logging
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

import matplotlib
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from harness.console.markdown import one_line
from harness.metric_definitions import definition_of
from harness.types import Difference, Evaluation, MetricValue, OverSeeds
from reports.texts import t

# Okabe and Ito's palette, which colour-blind readers can tell apart.
SIDE_COLORS = {"before": "#0072B2", "sft": "#009E73", "after": "#E69F00"}
# Stands for the page's text colour in the SVG; PNGs keep it, on white.
INK = "#404142"

# Okabe and Ito's green and vermilion; the markers say the same without colour.
VERDICTS = {"better": ("#009E73", "^"), "worse": ("#D55E00", "v")}
NO_VERDICT = (INK, "o")
# Hollow, so that an equal dot in it is seen.
BEFORE = {"marker": "D", "linestyle": "", "color": SIDE_COLORS["before"], "markerfacecolor": "none"}
# Inches: what a phone of 390 px shows whole, with its letters still legible.
WIDTH = 5.2
LONGEST_LABEL = 60
LABEL_LINE = 26
NOTHING = MetricValue(None, None, None, 0, 0)

SVG = "http://www.w3.org/2000/svg"
ElementTree.register_namespace("", SVG)
ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")
matplotlib.use("Agg")
# With Chinese, Japanese and Korean letters; those that are installed are used for what the usual font lacks.
CJK = ("Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei",
       "Droid Sans Fallback", "PingFang SC", "Hiragino Sans GB", "Arial Unicode MS", "Microsoft YaHei", "SimHei",
       "Noto Sans CJK JP", "Noto Sans JP", "Noto Sans KR", "Malgun Gothic")  # fmt: skip
INSTALLED = {font.name for font in font_manager.fontManager.ttflist}
FONTS = ["sans-serif", *(name for name in CJK if name in INSTALLED)]
HAS_CJK = len(FONTS) > 1
# Which would say on stderr that such a font has no bold letters.
logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
STYLE = {
    "svg.fonttype": "none", "svg.hashsalt": "harness", "font.family": FONTS, "font.size": 9,
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": INK, "xtick.color": INK, "ytick.color": INK,
    "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
    "text.parse_math": False,
}  # fmt: skip


@dataclass(frozen=True)
class Plot:
    """A drawn figure: file name without suffix, one sentence that says what it shows, and both renderings."""

    name: str
    caption: str
    svg: str
    png: bytes


def metric_bars(sides: Mapping[str, Mapping[str, MetricValue]]) -> Plot:
    """The metrics in percent, a bar per side, with their 95 % intervals."""
    names = dict.fromkeys(name for metrics in sides.values() for name in metrics if definition_of(name).percent)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 0.62 * len(names) + 1.0), layout="constrained")
        axes = figure.subplots()
        height = 0.8 / len(sides)
        for place, (side, metrics) in enumerate(sides.items()):
            rows = [row + (place - (len(sides) - 1) / 2) * height for row in range(len(names))]
            shown = [metrics.get(name, NOTHING) for name in names]
            values = [(metric.mean or 0.0) * 100 for metric in shown]
            axes.barh(rows, values, height * 0.9, color=SIDE_COLORS[side], label=side)
            for row, value, metric in zip(rows, values, shown, strict=True):
                if metric.low is not None:
                    ends = max(metric.low * 100, 0), min(metric.high * 100, 100)
                    axes.plot(ends, (row, row), color=INK, linewidth=1.2)
                    axes.text(ends[1] + 1.2, row, f"{value:.0f}", va="center", fontsize=9)
        axes.set_yticks(range(len(names)), [label(name) for name in names])
        axes.invert_yaxis()
        axes.set_xlim(0, 108)
        axes.set_xticks(range(0, 101, 20))
        axes.set_xlabel("% of the replies, with 95 % interval")
        if len(sides) > 1:
            figure.legend(loc="outside upper right", ncols=3)
        return rendered(figure, "metrics", f"Metrics {' and '.join(sides)} training, in percent, with 95 % intervals.")


def differences(rows: Mapping[str, Difference], first: str, last: str) -> Plot:
    """A forest plot: every difference that is in percent, with its 95 % interval and its verdict's marker."""
    names = [name for name, row in rows.items() if definition_of(name).percent and row.delta is not None]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 0.42 * len(names) + 1.1), layout="constrained")
        axes = figure.subplots()
        axes.axvline(0, color=INK, linewidth=0.8)
        for place, name in enumerate(names):
            row = rows[name]
            color, marker = VERDICTS.get(row.verdict, NO_VERDICT)
            if row.low is not None:
                axes.plot((100 * row.low, 100 * row.high), (place, place), color=color, linewidth=2.2)
            axes.plot(100 * row.delta, place, marker, color=color, markersize=8, markerfacecolor=_fill(row, color))
            axes.annotate(
                f"{100 * row.delta:+.1f}", (1.01, place), xycoords=("axes fraction", "data"), va="center", fontsize=9
            )
        axes.set_yticks(range(len(names)), [label(name) for name in names])
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.margins(x=0.08)
        axes.set_xlabel(f"percentage points, {last} minus {first}, with 95 % interval")
        caption = f"From {first} to {last}: pointing up is better, pointing down worse, a hollow circle no evidence."
        return rendered(figure, "differences", caption)


def seeds(over: Mapping[str, OverSeeds], adapters: Mapping[str, Difference]) -> Plot:
    """Each adapter's difference as a dot, their mean with the interval of these adapters and that of the recipe."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 0.8 * len(over) + 1.3), layout="constrained")
        axes = figure.subplots()
        axes.axvline(0, color=INK, linewidth=0.8)
        for place, (name, each) in enumerate(over.items()):
            scale = 100 if definition_of(name).percent else 1
            for low, high, color, width, below in (
                (adapters[name].low, adapters[name].high, SIDE_COLORS["after"], 2.2, 0.14),
                (each.low, each.high, SIDE_COLORS["before"], 2.2, 0.28),
            ):
                if low is not None:
                    axes.plot((scale * low, scale * high), (place + below, place + below), color=color, linewidth=width)
            deltas = [scale * delta for delta in each.deltas.values()]
            axes.plot(deltas, [place - 0.1] * len(deltas), "o", color=INK, markersize=6, markerfacecolor="none")
        axes.set_yticks(range(len(over)), [label(name) for name in over])
        axes.set_ylim(len(over) - 0.5, -0.5)
        axes.margins(x=0.08)
        axes.set_xlabel(
            "difference in percentage points" if all(definition_of(name).percent for name in over) else "difference"
        )
        handles = [
            Line2D([], [], marker="o", linestyle="", color=INK, markerfacecolor="none", label="one adapter"),
            Line2D([], [], color=SIDE_COLORS["after"], linewidth=2.2, label="these adapters"),
            Line2D([], [], color=SIDE_COLORS["before"], linewidth=2.2, label="the recipe"),
        ]
        figure.legend(handles=handles, loc="outside upper right", ncols=3)
        caption = "Each training's difference, and 95 % intervals of the mean: of these adapters, and of the recipe."
        return rendered(figure, "seeds", caption)


def parts(groups: Mapping[str, Sequence], first: str, last: str | None) -> Plot:
    """Shares correct and in the required format by part of the problems, each side a dot, in groups."""
    rows = sum(len(group) + 1 for group in groups.values())
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 0.27 * rows + 1.0), layout="constrained")
        axes = figure.subplots()
        labels, place = {}, 0
        for title, group in groups.items():
            axes.text(-0.01, place, title, transform=axes.get_yaxis_transform(), ha="right", va="center", weight="bold")
            place += 1
            for part in group:
                labels[place] = f"{label(part.name)}  ({part.n})"
                if part.after is not None:
                    axes.plot((100 * part.before, 100 * part.after), (place, place), color=INK, linewidth=1)
                    axes.plot(100 * part.after, place, "o", color=SIDE_COLORS["after"], markersize=7)
                axes.plot(100 * part.before, place, **BEFORE, markersize=8)
                place += 1
        axes.set_yticks(list(labels), list(labels.values()), fontsize=9)
        axes.set_ylim(place - 0.4, -0.6)
        axes.set_xlim(-2, 102)
        axes.set_xlabel("% correct and in the required format")
        handles = [Line2D([], [], **BEFORE, label=first)]
        if last:
            handles.append(Line2D([], [], marker="o", linestyle="", color=SIDE_COLORS["after"], label=last))
        figure.legend(handles=handles, loc="outside upper right", ncols=2)
        caption = "Correct and in the required format, by part of the problems (how many of them in brackets)."
        return rendered(figure, "parts", caption)


def standings(sides: Sequence[Evaluation], name: str) -> Plot:
    """One metric of any number of sides, best first, with 95 % intervals."""
    kind = definition_of(name)
    scale = 100 if kind.percent else 1
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 0.42 * len(sides) + 1.0), layout="constrained")
        axes = figure.subplots()
        for place, side in enumerate(sides):
            metric = side.metrics[name]
            if metric.mean is None:
                continue
            if metric.low is not None:
                axes.plot(
                    (scale * metric.low, scale * metric.high),
                    (place, place),
                    color=SIDE_COLORS["before"],
                    linewidth=2.2,
                )
            axes.plot(scale * metric.mean, place, "o", color=SIDE_COLORS["before"], markersize=8)
            axes.annotate(
                kind.show(metric.mean), (1.01, place), xycoords=("axes fraction", "data"), va="center", fontsize=9
            )
        axes.set_yticks(range(len(sides)), [label(side.name) for side in sides])
        axes.set_ylim(len(sides) - 0.4, -0.6)
        axes.margins(x=0.08)
        axes.set_xlabel(f"{name}{', %' if kind.percent else ''}, with 95 % interval")
        return rendered(figure, "standings", f"{name} of each run, with 95 % intervals.")


def label(name: str) -> str:
    """A name in lines of LABEL_LINE characters, cut to what a plot has room for."""
    shown = one_line(name)
    cut = shown if len(shown) <= LONGEST_LABEL else f"{shown[:LONGEST_LABEL]}…"
    return textwrap.fill(cut, LABEL_LINE)


def _fill(row: Difference, color: str) -> str:
    return color if row.verdict in VERDICTS else "none"


def rendered(figure: Figure, name: str, caption: str) -> Plot:
    """Both renderings of a figure, in the page's language; the PNG in English where no font here has its letters."""
    caption = t(caption)
    svg, png = io.StringIO(), io.BytesIO()
    nobody = {"Date": None, "Creator": None, "Format": None, "Type": None}
    with warnings.catch_warnings(action="ignore"):  # that the font has no shape for a letter of somebody's name
        if HAS_CJK:
            _translate(figure)
        figure.savefig(png, format="png", dpi=144, facecolor="white", metadata={"Software": None})
        _translate(figure)  # a browser has fonts of its own
        figure.savefig(svg, format="svg", transparent=True, metadata=nobody)
    return Plot(name, caption, _inline(svg.getvalue(), name, caption), png.getvalue())


def _translate(figure: Figure) -> None:
    for text in figure.findobj(Text):
        text.set_text(t(text.get_text()))


def _inline(svg: str, name: str, caption: str) -> str:
    """An SVG for a page of several: in the page's colours, its ids its own. Texts are left as they are."""
    root = ElementTree.fromstring(svg)
    for metadata in root.findall(f"{{{SVG}}}metadata"):
        root.remove(metadata)
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == "id":
                element.set(key, f"{name}-{value}")
            elif value.startswith("#") and key.endswith("href"):
                element.set(key, f"#{name}-{value[1:]}")
            elif key in ("style", "clip-path", "fill", "stroke"):
                element.set(key, _in_page_colors(value).replace("url(#", f"url(#{name}-"))
    root.set("role", "img")
    root.set("aria-label", caption)
    return ElementTree.tostring(root, encoding="unicode")


def _in_page_colors(style: str) -> str:
    for side, color in SIDE_COLORS.items():
        style = style.replace(color.lower(), f"var(--{side})")
    return style.replace(INK, "currentColor")
