"""Warnings from a training's own figures, each with the setting to change."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from harness.config import Configuration
from harness.statistics import stats as harness_stats

# No warning before so many steps: the first ones tell little.
FIRST_STEPS = 8
MUCH_CUT_OFF = 0.25
NEARLY_ALL = 0.9
MUCH_WITHOUT_DIFFERENCE = 0.5
# Of the first steps' entropy; nats per token of KL; the last steps' length by the first ones'.
LITTLE_ENTROPY = 0.2
MUCH_KL = 1.0
LONGER, SHORTER = 1.5, 0.5
SURE = 0.01
# Of the importance ratio's mean, which is 1 where vLLM and the trainer agree.
LOW_RATIO = 0.5
RATIO = "sampling/importance_sampling_ratio/mean"
# How often it warns is simulated in baselines/statistics/health.py; with fewer problems it does not warn.
FALSE_ALARMS, LEAST_PROBED = 0.05, 24
ACCURACY = "rewards/accuracy_strict/mean"


@dataclass(frozen=True)
class HealthWarning:
    """One finding: its kind, and the sentence with the setting to change."""

    kind: str
    text: str


@dataclass(frozen=True)
class Fall:
    """Correct answers of so many held-out problems in the first and in the last probes, and how sure a fall is."""

    problems: int
    first: float
    last: float
    p_value: float


def warnings(
    log: Sequence[dict], probes: Sequence[dict], config: Configuration, max_completion: int
) -> list[HealthWarning]:
    """The findings of a GRPO training so far.

    `log` and `probes` are the rows of log.jsonl (one per step) and probes.jsonl, `max_completion` is in tokens.
    """
    if len(log) < min(FIRST_STEPS, config.steps):
        return []
    return [
        *_cut_off(log, max_completion),
        *_without_difference(log),
        *_entropy(log),
        *_divergence(log, config),
        *_length(log),
        *_importance_ratio(log),
        *_reward_without_accuracy(log, probes, config.steps // config.eval_every if config.eval_every else 0),
    ]


def _cut_off(log: Sequence[dict], max_completion: int) -> Iterator[HealthWarning]:
    share = _mean(log, "completions/clipped_ratio")
    if share > MUCH_CUT_OFF:
        much = "nearly every completion was" if share > NEARLY_ALL else f"{share:.0%} of the completions were"
        yield HealthWarning(
            "cut off",
            f"In training {much} cut off at {max_completion} tokens ({share:.0%} of all), so the rewards scored broken "
            "replies: raise max_completion (and max_sequence).",
        )


def _without_difference(log: Sequence[dict]) -> Iterator[HealthWarning]:
    share = _mean(log, "frac_reward_zero_std")
    if share > MUCH_WITHOUT_DIFFERENCE:
        yield HealthWarning(
            "no difference",
            f"In {share:.0%} of the groups all completions got the same reward, and nothing can be learnt from those: "
            "raise generations or rollout_temperature, or train on problems that are neither too easy nor too hard.",
        )


def _entropy(log: Sequence[dict]) -> Iterator[HealthWarning]:
    first, last = _ends(log, "entropy")
    if len(first) and np.mean(last) < LITTLE_ENTROPY * np.mean(first):
        yield HealthWarning(
            "entropy",
            f"The entropy fell from {np.mean(first):.2f} to {np.mean(last):.2f} nats per token: the model hardly tries "
            "anything else any more: lower learning_rate, or raise beta or rollout_temperature.",
        )


def _divergence(log: Sequence[dict], config: Configuration) -> Iterator[HealthWarning]:
    _, last = _ends(log, "kl")
    if config.beta and len(last) and np.mean(last) > MUCH_KL:
        yield HealthWarning(
            "kl",
            f"The KL divergence from the base reached {np.mean(last):.2f} nats per token: lower learning_rate or raise "
            "beta.",
        )


def _length(log: Sequence[dict]) -> Iterator[HealthWarning]:
    first, last = _ends(log, "completions/mean_length")
    if not len(first) or np.mean(first) == 0:
        return
    ratio = np.mean(last) / np.mean(first)
    if ratio > LONGER or ratio < SHORTER:
        fix = (
            "raise max_completion, or loss_type = dr_grpo"
            if ratio > LONGER
            else "see which rewards favour short replies"
        )
        yield HealthWarning(
            "length",
            f"The completions went from {np.mean(first):.0f} to {np.mean(last):.0f} tokens: {fix}, or lower "
            "learning_rate.",
        )


def _importance_ratio(log: Sequence[dict]) -> Iterator[HealthWarning]:
    ratio = _mean(log, RATIO)
    if any(RATIO in row for row in log) and ratio < LOW_RATIO:
        yield HealthWarning(
            "importance ratio",
            f"The importance ratios of vLLM's completions are {ratio:.2f} in the mean, and the gradient shrinks with "
            "them: set importance_correction = false, or see that the rollouts' model is the one that is trained.",
        )


def fall(probes: Sequence[Sequence[float | None]]) -> Fall | None:
    """The fall of correct answers on the same held-out problems, from the first probe to the last third of them.

    None with fewer than two probes or LEAST_PROBED problems. The test is the exact one of paired differences,
    one-sided.
    """
    if len(probes) < 2:
        return None
    values = np.array([each for each in probes if len(each) == len(probes[0])], dtype=float)
    first, last = values[0], values[len(values) - max(len(values) // 3, 1) :].mean(axis=0)
    known = ~np.isnan(first) & ~np.isnan(last)
    if known.sum() < LEAST_PROBED:
        return None
    deltas = last[known] - first[known]
    p_value = harness_stats.sign_flip(deltas) / 2 if deltas.sum() < 0 else 1.0
    return Fall(int(known.sum()), float(first[known].mean()), float(last[known].mean()), p_value)


def _reward_without_accuracy(log: Sequence[dict], probes: Sequence[dict], looks: int) -> Iterator[HealthWarning]:
    """Rewards that rise (Welch's test, first against last third of the steps) while correct answers fall.

    `looks` probes are made in all, each of which could warn: they share 5 % (Bonferroni).
    """
    correct_fell = fall([probe["correct"] for probe in probes if probe.get("correct")])
    if correct_fell is None or correct_fell.p_value > FALSE_ALARMS / max(looks, 1):
        return
    rising = []
    for name in (name for name in log[0] if name.startswith("rewards/") and name.endswith("/mean")):
        first, last = _ends(log, name)
        if (
            name != ACCURACY
            and len(first) > 1
            and np.std([*first, *last])
            and stats.ttest_ind(last, first, equal_var=False, alternative="greater").pvalue < SURE
        ):
            rising.append(f"{name.split('/')[1]} rose from {np.mean(first):.2f} to {np.mean(last):.2f}")
    if rising:
        yield HealthWarning(
            "reward without accuracy",
            f"{', '.join(rising)} while correct answers on {correct_fell.problems} held-out problems fell from "
            f"{correct_fell.first:.0%} to {correct_fell.last:.0%} (paired, p = {correct_fell.p_value:.2g}): "
            "the training may learn to please the rewards alone: look at rollouts.jsonl, and choose other rewards "
            "(rewards, variant) or a lower learning_rate.",
        )


def _ends(log: Sequence[dict], name: str) -> tuple[np.ndarray, np.ndarray]:
    """A figure in the first and in the last third of the steps."""
    values = np.array([row[name] for row in log if row.get(name) is not None], dtype=float)
    values = values[np.isfinite(values)]
    third = max(len(values) // 3, 1)
    return values[:third], values[len(values) - third :] if len(values) else values


def _mean(log: Sequence[dict], name: str) -> float:
    values = [row[name] for row in log if row.get(name) is not None]
    return float(np.mean(values)) if values else 0.0
