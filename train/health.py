"""What a training's own figures say is wrong with it, each with the setting to change."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from harness.config import Configuration
from harness.statistics import stats as harness_stats

# No word before so many steps: the first ones say little.
FIRST_STEPS = 8
MUCH_CUT_OFF = 0.25
NEARLY_ALL = 0.9
MUCH_WITHOUT_DIFFERENCE = 0.5
# Of the first steps' entropy; nats a token of KL; the last steps' length by the first ones'.
LITTLE_ENTROPY = 0.2
MUCH_KL = 1.0
LONGER, SHORTER = 1.5, 0.5
SURE = 0.01
# Of the importance ratio's mean, which is 1 where vLLM and the trainer agree.
LOW_RATIO = 0.5
RATIO = "sampling/importance_sampling_ratio/mean"
# What fires, and how often, is simulated in baselines/statistics/health.py; of fewer problems nothing is said.
FALSE_ALARMS, LEAST_PROBED = 0.05, 24
ACCURACY = "rewards/accuracy_strict/mean"


@dataclass(frozen=True)
class Warning:
    """One finding: what kind it is, and the sentence that says it and names the setting to change."""

    kind: str
    text: str


@dataclass(frozen=True)
class Fall:
    """Correct answers of so many held-out problems in the first and in the last probes, and how sure a fall is."""

    problems: int
    first: float
    last: float
    p_value: float


def warnings(log: Sequence[dict], probes: Sequence[dict], config: Configuration, max_completion: int) -> list[Warning]:
    """The findings of a GRPO training so far: rows of log.jsonl (a step each) and probes.jsonl; a limit in tokens."""
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


def _cut_off(log: Sequence[dict], max_completion: int) -> Iterator[Warning]:
    share = _mean(log, "completions/clipped_ratio")
    if share > MUCH_CUT_OFF:
        much = "nearly every completion was" if share > NEARLY_ALL else f"{share:.0%} of the completions were"
        yield Warning(
            "cut off",
            f"In training {much} cut off at {max_completion} tokens ({share:.0%} of all), so the rewards judged broken "
            "replies: raise max_completion (and max_sequence).",
        )


def _without_difference(log: Sequence[dict]) -> Iterator[Warning]:
    share = _mean(log, "frac_reward_zero_std")
    if share > MUCH_WITHOUT_DIFFERENCE:
        yield Warning(
            "no difference",
            f"In {share:.0%} of the groups all completions earned the same, and nothing can be learnt from those: "
            "raise generations or rollout_temperature, or train on problems that are neither too easy nor too hard.",
        )


def _entropy(log: Sequence[dict]) -> Iterator[Warning]:
    first, last = _ends(log, "entropy")
    if len(first) and np.mean(last) < LITTLE_ENTROPY * np.mean(first):
        yield Warning(
            "entropy",
            f"The entropy fell from {np.mean(first):.2f} to {np.mean(last):.2f} nats a token: the model hardly tries "
            "anything else any more: lower learning_rate, or raise beta or rollout_temperature.",
        )


def _divergence(log: Sequence[dict], config: Configuration) -> Iterator[Warning]:
    _, last = _ends(log, "kl")
    if config.beta and len(last) and np.mean(last) > MUCH_KL:
        yield Warning(
            "kl",
            f"The KL divergence from the base reached {np.mean(last):.2f} nats a token: lower learning_rate or raise "
            "beta.",
        )


def _length(log: Sequence[dict]) -> Iterator[Warning]:
    first, last = _ends(log, "completions/mean_length")
    if not len(first) or np.mean(first) == 0:
        return
    ratio = np.mean(last) / np.mean(first)
    if ratio > LONGER or ratio < SHORTER:
        fix = "raise max_completion, or loss_type = dr_grpo" if ratio > LONGER else "see what rewards pay short replies"
        yield Warning(
            "length",
            f"The completions went from {np.mean(first):.0f} to {np.mean(last):.0f} tokens: {fix}, or lower "
            "learning_rate.",
        )


def _importance_ratio(log: Sequence[dict]) -> Iterator[Warning]:
    ratio = _mean(log, RATIO)
    if any(RATIO in row for row in log) and ratio < LOW_RATIO:
        yield Warning(
            "importance ratio",
            f"The importance ratios of vLLM's completions are {ratio:.2f} in the mean, and the gradient shrinks with "
            "them: set importance_correction = false, or see that the rollouts' model is the one that is trained.",
        )


def fall(probes: Sequence[Sequence[float | None]]) -> Fall | None:
    """How correct answers on the same held-out problems fell, from the first probe to the last third of them.

    None where fewer than two probes or LEAST_PROBED problems tell. The test is the exact one of paired differences,
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


def _reward_without_accuracy(log: Sequence[dict], probes: Sequence[dict], looks: int) -> Iterator[Warning]:
    """Rewards that rise (Welch's test, first against last third of the steps) while correct answers fall.

    `looks` probes are made in all, each of which could warn: they share 5 % (Bonferroni).
    """
    found = fall([probe["correct"] for probe in probes if probe.get("correct")])
    if found is None or found.p_value > FALSE_ALARMS / max(looks, 1):
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
        yield Warning(
            "reward without accuracy",
            f"{', '.join(rising)} while correct answers on {found.problems} held-out problems fell from "
            f"{found.first:.0%} to {found.last:.0%} (paired, p = {found.p_value:.2g}): the training may learn to "
            "please the rewards alone: look at rollouts.jsonl, and choose other rewards (rewards, variant) or a lower "
            "learning_rate.",
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
