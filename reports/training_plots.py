"""The plots of a training and of the languages: rewards, accuracy, lengths and health by step."""

from collections.abc import Mapping, Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from reports.plots import INK, SIDE_COLORS, STYLE, WIDTH, Plot, label, rendered

ACCURACY = "rewards/accuracy_strict/mean"
LINE_COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")


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


def training_curves(log: Sequence[Mapping], probes: Sequence[Mapping]) -> Plot:
    """Rewards by function, accuracy, length of the completions, and the health of the training, by step."""
    steps = [row["step"] for row in log]
    rewards = [key for key in log[0] if key.startswith("rewards/") and key.endswith("/mean") and key != ACCURACY]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 8.2), layout="constrained")
        top, truth, middle, bottom, spread = figure.subplots(5, 1, sharex=True, height_ratios=(2.2, 1, 1, 1, 1))
        _line(top, steps, log, "reward", "all together", INK, 2.0)
        for key, color in zip(rewards, LINE_COLORS, strict=False):
            _line(top, steps, log, key, key.split("/")[1], color, 1.2)
        top.set_ylabel("mean reward")
        top.legend(fontsize=7, ncols=2)
        _line(truth, steps, log, ACCURACY, "of the completions trained on", LINE_COLORS[4], 1.0)
        truth.plot(
            [row["step"] for row in probes],
            [row.get(ACCURACY, float("nan")) for row in probes],
            "o-",
            color=INK,
            label="of held-out problems",
        )
        truth.set_ylim(-0.03, 1.03)
        truth.set_ylabel("accuracy")
        truth.legend(fontsize=7, ncols=2)
        _line(middle, steps, log, "completions/mean_length", "mean", LINE_COLORS[0], 1.4)
        _line(middle, steps, log, "completions/max_length", "longest", LINE_COLORS[4], 1.0)
        middle.set_ylabel("tokens")
        middle.legend(fontsize=7, ncols=2)
        _line(bottom, steps, log, "completions/clipped_ratio", "cut off at the limit", LINE_COLORS[5], 1.4)
        _line(bottom, steps, log, "frac_reward_zero_std", "groups without reward difference", LINE_COLORS[2], 1.4)
        bottom.set_ylim(-0.03, 1.03)
        bottom.set_ylabel("share")
        bottom.legend(fontsize=7, ncols=2)
        _line(spread, steps, log, "entropy", "entropy", LINE_COLORS[0], 1.4)
        if any(row.get("kl") is not None for row in log):
            _line(spread, steps, log, "kl", "KL from the base", LINE_COLORS[5], 1.4)
        spread.set_ylim(bottom=0)
        spread.set_ylabel("nats per token")
        spread.set_xlabel("step")
        spread.legend(fontsize=7, ncols=2)
        return rendered(figure, "training", f"Training: rewards, accuracy, lengths and health over {len(log)} steps.")


def _line(axes: Axes, steps: list[int], log: Sequence[Mapping], key: str, name: str, color: str, width: float) -> None:
    values = [float("nan") if row.get(key) is None else row[key] for row in log]
    axes.plot(steps, values, color=color, linewidth=width, label=label(name))
