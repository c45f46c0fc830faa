"""What a run stands on stays the same under it: its data, its checkpoint, its engine; or it says what changed."""

import json
import shutil

import pytest
from conftest import configuration, evaluate_until, write_jsonl
from safetensors.torch import load_file, save_file

from harness.cli.stage_functions import run_stage
from harness.errors import UserError
from harness.evaluation import evaluate, provenance
from harness.evaluation.same_data import refuse_changed_data
from harness.models import checkpoints
from harness.rewards import own
from harness.storage.run_folder import Run
from train.grpo import reward_functions


def rows(answers):
    return [{"question": f"{place} + 1?", "answer": answer} for place, answer in enumerate(answers)]


@pytest.fixture
def run(tmp_path):
    """A run whose base has replied to two of four problems."""
    data = write_jsonl(tmp_path / "d.jsonl", rows("1234"))
    texts = [{"text": f"reply {n}", "adapter": adapted} for adapted in (False, True) for n in range(4)]
    replies = write_jsonl(tmp_path / "r.jsonl", texts)
    config = configuration(dataset=str(data), engine="scripted", engine_args={"replies": str(replies)})
    run = Run.create(tmp_path / "run", config, "harness eval")

    evaluate_until(run, "reply 1")
    assert len(run.completions("before")) == 2
    return run


def test_the_seconds_of_a_sides_parts_add_up_over_processes_as_the_stages_do(run):
    stopped = run.record.provenance["before"]["seconds"]
    assert stopped.keys() == {"load", "probe", "draw"}
    with run.record.changing() as record:
        record["provenance"]["before"]["seconds"] = dict.fromkeys(stopped, 1000.0)
        record["stages"]["before"]["seconds"] = 3000.0
    evaluate.evaluate(run, ["before"], None, True, None)
    parts = run.record.provenance["before"]["seconds"]
    assert min(parts.values()) >= 1000
    assert sum(parts.values()) == pytest.approx(run.record.stages["before"]["seconds"], abs=30)


OTHER = 'the dataset changed since side "before" was generated'


def test_answers_that_were_edited_under_half_a_side_stop_it(run, tmp_path):
    write_jsonl(tmp_path / "d.jsonl", rows("1239"))
    with pytest.raises(UserError, match=f"{OTHER}.*--fresh"):
        evaluate.evaluate(run, ["before"], None, True, None)
    assert len(run.completions("before")) == 2
    write_jsonl(tmp_path / "d.jsonl", rows("1234"))
    evaluate.evaluate(run, ["before"], None, True, None)


def test_answers_that_were_edited_between_the_sides_stop_the_second(run, tmp_path):
    evaluate.evaluate(run, ["before"], None, True, None)
    write_jsonl(tmp_path / "d.jsonl", rows("9999"))
    with pytest.raises(UserError, match=OTHER):
        evaluate.evaluate(run, ["after"], None, True, None)
    assert not run.has_completions("after")


def test_weights_that_were_changed_between_the_sides_stop_the_second(tmp_path):
    model = shutil.copytree(checkpoints.locate("embedded"), tmp_path / "m")
    config = configuration("max_tokens=2", model=str(model), recipe="tiny", limit=1, engine="transformers")
    run = Run.create(tmp_path / "run", config, "harness run")
    evaluate.evaluate(run, ["before"], None, True, None)
    weights = load_file(model / "model.safetensors")
    save_file({name: tensor * 2 for name, tensor in weights.items()}, model / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match='the checkpoint changed since side "before" was generated'):
        evaluate.evaluate(run, ["after"], None, True, None)


def test_problems_that_were_edited_under_a_training_stop_it(harness, tmp_path):
    data = write_jsonl(tmp_path / "d.jsonl", rows("12345678"))
    command = ["train", "--dataset", data, "--set=steps=2", "--set=save_steps=1", "--set=prompts_per_step=2",
               "--set=generations=2", "--set=eval_every=0", "--set=max_completion=4", "--output", "r"]  # fmt: skip
    assert harness(*command).returncode == 0
    record = json.loads((tmp_path / "r/run.json").read_text())
    record["stages"]["train"]["state"] = "running"
    (tmp_path / "r/run.json").write_text(json.dumps(record))
    write_jsonl(data, rows("12345679"))
    done = harness(*command)
    assert done.returncode == 2
    assert 'the training problems changed since stage "train" started' in done.stderr.splitlines()[-1]


def test_the_same_command_on_a_finished_run_notices_other_data(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = write_jsonl(tmp_path / "d.jsonl", rows("1234"))
    replies = write_jsonl(tmp_path / "r.jsonl", [{"text": "1"}])
    evaluation = (
        "eval",
        "--dataset",
        data,
        "--engine",
        "scripted",
        "--engine-arg",
        f"replies={replies}",
        "--output",
        "r",
    )
    assert command(*evaluation)[0] == command(*evaluation)[0] == 0
    write_jsonl(data, rows("1239"))
    code, said = command(*evaluation)
    assert (code, said.count("\n")) == (2, 1)
    assert 'r: the dataset changed since side "before" was generated' in said


def test_data_that_changed_after_a_stage_stop_the_next_before_anything_is_trained(run, tmp_path):
    evaluate.evaluate(run, ["before"], None, True, None)
    write_jsonl(tmp_path / "d.jsonl", rows("9999"))
    for stage in ("train", "warm-up", "after", "also-before"):
        with pytest.raises(UserError, match=OTHER):
            run_stage(run, stage, quiet=True)
    assert not (run.path / "train").exists()


def test_a_training_of_an_older_program_is_not_held_to_what_it_did_not_leave_out(tmp_path):
    for name, answers in (("train.jsonl", "12345"), ("test.jsonl", "12")):
        write_jsonl(tmp_path / name, rows(answers))
    run = Run.create(tmp_path / "run", configuration(dataset=str(tmp_path), trains=True), "harness train")
    run.record.set_provenance("train", {"dataset_sha": "of all its problems"})
    refuse_changed_data(run)
    run.record.set_provenance(
        "train", {"dataset_sha": "of others", "near_copies": {"count": 0, "evaluated": 4, "examples": []}}
    )
    with pytest.raises(UserError, match='the training problems changed since stage "train" started'):
        refuse_changed_data(run)


def test_a_pace_that_drew_nothing_is_not_told_of():
    drawn = [{"replies": 2, "arguments": {"batch_size": 64}}]
    earlier = {"engine": "transformers", "batch_size": 32, "earlier_paces": drawn}

    class Half:
        """As much of a run as is asked."""

        path = "r"

        def completions(self, side):
            return [1, 2]

    begun = provenance.carried_over(Half(), "before", earlier, {"engine": "transformers", "batch_size": 16})
    assert begun["earlier_paces"] == drawn


def rewards_file(path, value):
    path.write_text(f"def mine(completions, **_):\n    return [{value}] * len(completions)\n")
    return path


EDITED = r"mine\.py: changed since the run was started: bring it back, or start over with --fresh"


def test_rewards_that_were_edited_score_nothing_until_they_are_back(tmp_path):
    mine = rewards_file(tmp_path / "mine.py", 1.0)
    run = Run.create(tmp_path / "run", configuration(f"rewards={mine}", limit=2, engine="transformers"), "harness run")
    rewards_file(mine, 2.0)
    own.own_rewards.cache_clear()  # as in the next stage's process
    for loads in (
        lambda: evaluate.evaluate(run, ["before"], None, True, None),
        lambda: reward_functions(run.config, "number", "", 8),
    ):
        with pytest.raises(UserError, match=EDITED):
            loads()
    assert not run.has_completions("before")
    rewards_file(mine, 1.0)
    evaluate.evaluate(run, ["before"], None, True, None)
    rewards_file(mine, 2.0)
    run.discard("before")
    evaluate.evaluate(run, ["before"], None, True, None)
    assert run.metrics("before")["reward/mine"].mean == 1.0


def test_scoring_again_takes_the_rewards_as_they_are_now(tmp_path, command):
    mine = rewards_file(tmp_path / "mine.py", 1.0)
    asked = ("--model", "tiny", "--limit", "2", "--set", f"rewards={mine}", "--output", tmp_path / "run")
    assert command("eval", *asked)[0] == 0
    rewards_file(mine, 2.0)
    assert command("score", tmp_path / "run", "--rewards", mine)[0] == 0
    assert Run.open(tmp_path / "run").metrics("before")["reward/mine"].mean == 2.0
    code, said = command("eval", *asked)
    assert (code, "made by another configuration (rewards_sha" in said) == (2, True)
