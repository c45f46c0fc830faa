"""What a training's own figures say is wrong with it, each with the setting to change."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from harness.config import Configuration

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
ACCURACY = "rewards/accuracy_strict/mean"


@dataclass(frozen=True)
class Warning:
    """One finding: what kind it is, and the sentence that says it and names the setting to change."""

    kind: str
    text: str


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
        *_reward_without_accuracy(log, probes),
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


def _reward_without_accuracy(log: Sequence[dict], probes: Sequence[dict]) -> Iterator[Warning]:
    """A reward that rises (Welch's test, first against last third of the steps) while the probes' accuracy does not."""
    first, last = _ends(probes, ACCURACY)
    if len(probes) < 2 or not len(first) or np.mean(last) > np.mean(first) or np.mean(last) == 1:
        return
    accuracy = np.mean(first), np.mean(last)
    names = [name for name in log[0] if name.startswith("rewards/") and name.endswith("/mean")]
    for name in (name for name in names if name != ACCURACY):
        first, last = _ends(log, name)
        if (
            len(first) > 1
            and np.std([*first, *last])
            and stats.ttest_ind(last, first, equal_var=False, alternative="greater").pvalue < SURE
        ):
            function = name.split("/")[1]
            yield Warning(
                f"reward {function}",
                f"{function} rose from {np.mean(first):.2f} to {np.mean(last):.2f} while the accuracy on held-out "
                f"problems went from {accuracy[0]:.0%} to {accuracy[1]:.0%}: the training may learn to please that "
                "reward alone: look at rollouts.jsonl, and choose other rewards (rewards, variant) or a lower "
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
