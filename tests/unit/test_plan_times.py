"""How long a run would take: by a stated rule, or by an earlier run of the same means."""

import pytest
from conftest import configuration
from planning import H200, LAPTOP, ON_CPU, earlier, plan

from harness.storage.files import write_json, write_lines


@pytest.mark.parametrize(
    ("machine", "trainer", "options", "before", "train", "sources"),
    [
        (LAPTOP, "trl", {"model": "tiny"}, 9.7, 46.9, "the default run's"),
        # 1319 x 768 tokens, 4 billion parameters, 2 FLOPs, 2 cores of 60 GFLOP/s
        (LAPTOP, "trl", {"model": "gemma3-4b"}, 67532.8, "unknown", "60 GFLOP/s per core"),
        (H200, "unsloth", {"model": "gemma3-4b", "engine": "vllm"}, 98.4, 328.4, "an H200's 16,053 tokens/s"),
        (H200, "trl", {"model": "gemma3-4b", "engine": "transformers"}, "unknown", "unknown", "no rule for it"),
        (H200, "trl", {"model": "gemma3-4b", "engine": "openai"}, "unknown", "unknown", "no earlier run by engine"),
        (H200, "trl", {"model": "me/mine", "recipe": "gemma3-4b"}, "unknown", "unknown", "how many parameters"),
    ],
)
def test_seconds_by_a_rule_that_is_stated(machine, trainer, options, before, train, sources):
    made = plan(configuration(**options), machine=machine, trainer=trainer)
    assert (made["seconds"]["before"], made["seconds"]["train"]) == (before, train)
    assert sources in made["seconds from"]["before"]
    assert (made["seconds in all"] == "unknown") == (train == "unknown")


def test_a_cpu_trains_small_models_by_the_rule():
    made = plan(configuration(model="Qwen/Qwen3-0.6B", recipe="gemma3-4b"))
    assert made["seconds"]["train"] == pytest.approx(50 * 4 * 768 * 6 * 0.6e9 / (2 * 60e9), abs=0.1)


def test_seconds_of_an_earlier_run_grow_by_what_grows(tmp_path):
    provenance = ON_CPU | {"seconds": {"load": 1.0, "probe": 0.0, "draw": 4.0}}
    run = earlier(tmp_path / "old", {"before": 10.0, "train": 30.0, "after": 12.0, "report": 1.0}, provenance)
    write_lines(run.path / "train" / "log.jsonl", [{"step": n, "step_time": s} for n, s in enumerate((9, 5, 5, 5))])
    made = plan(configuration("steps=8"), runs=tmp_path)
    assert made["seconds"] == {"before": 18.0, "train": 50.0, "after": 20.0, "report": 1.0}
    assert made["seconds in all"] == 89.0
    assert made["seconds from"]["before"] == f"{run.path}: before took 10 s for 100 replies, transformers on cpu"
    assert made["seconds from"]["train"].startswith(f"{run.path}: train took 30 s for 128 completions")


def test_a_part_of_a_batch_takes_as_long_as_a_whole_one(tmp_path):
    earlier(tmp_path / "old", {"before": 10.0}, ON_CPU | {"batch_size": 64, "seconds": {"draw": 4.0}})
    # 300 replies are five batches, 100 were two.
    assert plan(configuration(), runs=tmp_path)["seconds"]["before"] == 10 - 4 + 4 * 5 / 2


@pytest.mark.parametrize(
    ("provenance", "taken"),
    [
        (ON_CPU, True),
        ({"problems": 100}, True),
        (ON_CPU | {"cached": True}, False),
        (ON_CPU | {"engine": "vllm"}, False),
        (ON_CPU | {"device": "NVIDIA H200"}, False),
        ({}, False),
    ],
)
def test_only_what_was_done_by_the_same_means_counts(tmp_path, provenance, taken):
    earlier(tmp_path / "old", {"before": 10.0}, provenance)
    made = plan(configuration(), runs=tmp_path)
    # What the base took, its adapter takes too.
    assert made["seconds"]["before"] == made["seconds"]["after"] == (30.0 if taken else 9.7)
    assert (str(tmp_path) in made["seconds from"]["after"]) == taken


def test_another_trainers_seconds_do_not_count(tmp_path):
    run = earlier(tmp_path / "old", {"train": 30.0})
    assert plan(configuration(), runs=tmp_path)["seconds"]["train"] == 300.0
    write_json(run.path / "train" / "effective_config.json", {"trainer": "unsloth"})
    assert plan(configuration(), runs=tmp_path)["seconds"]["train"] == 46.9


def test_unfinished_broken_and_other_models_runs_are_passed_over(tmp_path):
    earlier(tmp_path / "other", {"before": 10.0}, model="gemma3-4b")
    run = earlier(tmp_path / "stopped", {"before": 10.0})
    write_json(run.path / "run.json", run.record.read() | {"stages": {"before": {"state": "stopped", "seconds": 9.0}}})
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").write_text("{")
    assert plan(configuration(), runs=tmp_path)["seconds"]["before"] == 9.7


def test_two_sides_of_an_adapter_are_drawn_together(tmp_path):
    config = configuration(adapter="mine")
    made = plan(config, ["before", "after", "report"])
    assert (made["seconds"]["before"], made["seconds"]["after"]) == (4.6 + 0.017 * 600, 0.0)
    assert made["seconds from"]["after"] == "together with before"
    earlier(tmp_path / "old", {"before": 10.0, "after": 10.0}, adapter="mine")
    assert plan(config, ["before", "after"], runs=tmp_path)["seconds"] == {"before": 30.0, "after": 0.0}
