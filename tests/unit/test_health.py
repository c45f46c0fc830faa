"""What a training says of itself while it runs and on the report, and what it says when the machine is too small."""

import re

import pytest
from conftest import configuration

from baselines.statistics import health as simulated
from harness.configure import configure, recipe_names
from train import health
from train.faults import fix_for


def log_of(**figures: list) -> list[dict]:
    """Rows of log.jsonl; a figure given once holds for all."""
    healthy = {
        "completions/clipped_ratio": [0.0], "frac_reward_zero_std": [0.0], "entropy": [0.5], "kl": [0.01],
        "completions/mean_length": [50.0], "rewards/layout/mean": [1.0],
    }  # fmt: skip
    columns = healthy | {name.replace("__", "/"): values for name, values in figures.items()}
    return [
        {"step": place + 1} | {name: values[place % len(values)] for name, values in columns.items()}
        for place in range(12)
    ]


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_that_is_probed_holds_out_as_many_as_the_warning_needs(name):
    config = configure(None, name, {}, [])
    assert not config.eval_every or config.eval_problems >= health.LEAST_PROBED


RISING = [0.1, 0.12, 0.11, 0.13, 0.5, 0.6, 0.7, 0.8, 1.2, 1.25, 1.22, 1.24]
FEW_FALL = [1.0] * 24 + [0.0] * 8, [1.0] * 8 + [0.0] * 24
HEALTH = [
    (log_of(), [], None),
    (log_of(completions__clipped_ratio=[1.0, 1.0, 0.75]), [], "nearly every completion was cut off at 96 tokens .92%"),
    (log_of(completions__clipped_ratio=[0.25, 0.5]), [], "38% of the completions were cut off.*raise max_completion"),
    (log_of(frac_reward_zero_std=[1.0, 0.5]), [], "In 75% of the groups .*raise generations"),
    (log_of(entropy=[0.5] * 6 + [0.01] * 6), [], "entropy fell from 0.50 to 0.01.*lower learning_rate"),
    (log_of(kl=[0.1] * 6 + [3.0] * 6), [], "KL divergence .* 3.00 nats.*raise beta"),
    (log_of(completions__mean_length=[50.0] * 6 + [90.0] * 6), [], "from 50 to 90 tokens: raise max_completion"),
    (log_of(completions__mean_length=[50.0] * 6 + [9.0] * 6), [], "from 50 to 9 tokens"),
    (log_of(sampling__importance_sampling_ratio__mean=[0.98]), [], None),
    (log_of(sampling__importance_sampling_ratio__mean=[0.5, 0.1]), [], "are 0.30 in the mean.*importance_correction"),
    (log_of(sampling__importance_sampling_ratio__mean=[0.0]), [], "are 0.00 in the mean"),
    (
        log_of(rewards__layout__mean=RISING),
        [FEW_FALL[0], FEW_FALL[1]],
        "layout rose from .* on 32 held-out problems fell from 75% to 25% .paired, p = 1.5e-05.*choose other rewards",
    ),
    # Accuracy that rises, stays, or falls no further than chance does; a fall of a few problems; no reward that rises.
    (log_of(rewards__layout__mean=RISING), [FEW_FALL[1], FEW_FALL[0]], None),
    (log_of(rewards__layout__mean=RISING), [FEW_FALL[0]] * 5, None),
    (log_of(rewards__layout__mean=RISING), [FEW_FALL[0], [1.0] * 20 + [0.0] * 12], None),
    (log_of(rewards__layout__mean=RISING), [[1.0] * 16, [0.0] * 16], None),
    (log_of(), [FEW_FALL[0], FEW_FALL[1]], None),
    (log_of(rewards__layout__mean=RISING), [[1.0] * 32, [1.0] * 32], None),
    (log_of(rewards__layout__mean=RISING), [[None] * 32, [None] * 32], None),
    # As a run of version 0.1 has it: the means alone.
    (log_of(rewards__layout__mean=RISING), [None, None], None),
    (log_of(rewards__layout__mean=RISING), [FEW_FALL[0], FEW_FALL[1], FEW_FALL[0]], None),
]


@pytest.mark.parametrize(("log", "accuracies", "said"), HEALTH)
def test_what_is_wrong_is_said_with_the_setting_to_change(log, accuracies, said):
    probes = [
        {"step": step, "rewards/accuracy_strict/mean": 0.5} | ({} if each is None else {"correct": each})
        for step, each in enumerate(accuracies)
    ]
    found = [warning.text for warning in health.warnings(log, probes, configuration("beta=0.04", "eval_every=10"), 96)]
    if said is None:
        assert found == []
    else:
        assert len(found) == 1
        assert re.search(said, found[0])


def test_a_few_steps_say_nothing():
    log = log_of(completions__clipped_ratio=[1.0])
    assert health.warnings(log[:5], [], configuration("steps=40"), 96) == []
    assert health.warnings(log[:5], [], configuration("steps=5"), 96)


FAULTS = [
    ("CUDA out of memory. Tried to allocate 2.00 GiB", "lower generations = 8 or max_sequence = 1024"),
    ("DefaultCPUAllocator: can't allocate memory: you tried to allocate 400 bytes", "does not fit into memory"),
    ("Free memory on device cuda:0 is less than desired GPU memory utilization (0.9)", "vLLM finds no room"),
    ("Error in memory profiling. Initial free memory 47.32 GiB, current free memory 75.55 GiB.", "the same command"),
    ("[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0", "the disk is full"),
    ("No space left on device (os error 28)", "the disk is full"),
    ("shapes do not match", None),
]


@pytest.mark.parametrize(("said", "line"), FAULTS)
def test_a_machine_that_is_too_small_is_told_what_to_lower(said, line):
    found = fix_for(said, configuration("rollouts=generate"))
    assert (found is None) if line is None else line in found


def test_no_change_warns_seldom_and_a_fall_often():
    assert simulated.warned(32, 5, 0.7, 0.7, simulations=60) <= 0.05 + 2 * (0.05 * 0.95 / 60) ** 0.5
    assert simulated.warned(32, 5, 0.7, 0.2, simulations=60) >= 0.5


def test_the_stored_rates_of_warnings_are_within_their_bounds():
    """At the 32 problems that the recipes hold out."""
    rows = re.findall(r"^\| (\d+)% to (\d+)% \| \d+ \| [\d.]+ % \| ([\d.]+) %", simulated.PAGE.read_text("utf-8"), re.M)
    assert len(rows) == 2 * len(simulated.SAME + simulated.BETTER + simulated.HACKED)
    for first, last, rate in rows:
        assert float(rate) >= 50 if int(last) < int(first) else float(rate) <= 5
