"""The main job, small, with the real libraries; and what a user gets to see of it."""

import json
import re
import subprocess
import sys

import pytest

SMALL = ("--set", "steps=2", "--set", "prompts_per_step=2", "--set", "generations=2", "--set", "save_steps=1")


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    folder = tmp_path_factory.mktemp("job")
    # Folders of the user's with our packages' names must not get in the way.
    for name in ("train", "reports"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise SystemExit('the wrong one')")
    command = [
        f"{sys.prefix}/bin/harness",
        "run",
        "--before-after",
        "--limit",
        "8",
        *SMALL,
        "--output",
        "job",
        "--json",
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    return folder, command, done


def test_every_landing_is_there(job):
    run = job[0] / "job"
    for name in (
        "run.json", "before/completions.jsonl", "before/scores.jsonl", "before/metrics.json", "train/log.jsonl",
        "train/effective_config.json", "train/rollouts.jsonl", "train/adapter/adapter_model.safetensors",
        "after/metrics.json", "comparison.json", "report/index.html", "report/report.md", "report/plots/training.png",
    ):  # fmt: skip
        assert (run / name).is_file(), name


def test_the_contract_of_the_files(job):
    run = job[0] / "job"
    reply = json.loads((run / "before/completions.jsonl").read_text().split("\n")[0])
    assert {"problem_id", "index", "question", "answer", "text", "n_tokens", "finish_reason", "prompt_sha",
            "seed"} <= reply.keys()  # fmt: skip
    score = json.loads((run / "before/scores.jsonl").read_text().split("\n")[0])
    assert {"problem_id", "index", "extracted", "scores", "reasons"} <= score.keys()
    metrics = json.loads((run / "after/metrics.json").read_text())
    assert {"format_strict", "format_tags", "accuracy_strict", "accuracy_flexible", "language_ratio", "language_raw",
            "truncated", "tokens", "reward/check_answer"} <= metrics.keys()  # fmt: skip
    assert all(row.keys() == {"mean", "low", "high", "n", "unscored"} for row in metrics.values())
    comparison = json.loads((run / "comparison.json").read_text())
    assert comparison["metrics"]["tokens"].keys() == {
        "before", "after", "delta", "low", "high", "p_value", "p_adjusted", "test", "n_pairs", "verdict",
        "detectable", "needed", "note", "problems", "changed", "one_sided", "lowest", "highest",
    }  # fmt: skip
    assert comparison["gain"].keys() == {"n", "layout", "answers", "delta"}
    assert comparison["flips"].keys() == {"gained", "lost", "both", "neither"}
    log = [json.loads(line) for line in (run / "train/log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in log] == [1, 2]
    assert {"rewards/check_answer/mean", "completions/clipped_ratio", "step_time"} <= log[0].keys()


def test_before_and_after_differ_in_the_adapter_alone(job):
    run = job[0] / "job"
    before, after = (
        [json.loads(line) for line in (run / side / "completions.jsonl").read_text().splitlines()]
        for side in ("before", "after")
    )
    places = [{(row["problem_id"], row["prompt_sha"], row["seed"]) for row in side} for side in (before, after)]
    assert places[0] == places[1]
    record = json.loads((run / "run.json").read_text())
    old, new = record["provenance"]["before"], record["provenance"]["after"]
    assert old["checkpoint"] == new["checkpoint"]
    assert "model.safetensors" in old["checkpoint"]
    assert (old["adapter"], list(new["adapter"])) == (None, ["adapter_model.safetensors"])
    assert record["provenance"]["train"]["lora_b_trained"] > 0
    assert record["provenance"]["train"]["logit_difference"] > 0


def test_stdout_has_results_and_stderr_progress(job):
    folder, command, done = job
    last = json.loads(done.stdout)
    assert last["comparison"]["format_strict"]["n_pairs"] == 8
    told_again = subprocess.run(
        [command[0], "report", "job"], cwd=folder, capture_output=True, text=True, timeout=300, check=True
    ).stdout
    assert "report: job/report/index.html" in told_again
    page, text = ((job[0] / "job/report" / name).read_text() for name in ("index.html", "report.md"))
    lines = "In the required format: ", "Correct answers, in whatever format: ", "orrect and in the required format"
    for told in (*lines, "about this one adapter"):
        assert all(told in shown for shown in (told_again, page.split("</header>")[0], text)), told
    assert all(f"{stage} " in done.stderr for stage in ("before", "train", "after"))


def test_the_same_command_again_does_nothing_twice(job):
    folder, command, _ = job
    kept = {
        file: file.read_bytes()
        for side in ("before", "train", "after")
        for file in (folder / "job" / side).glob("*.json*")
    }
    again = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert again.returncode == 0
    assert again.stderr.count("done already") == 3
    assert {file: file.read_bytes() for file in kept} == kept


def test_another_configuration_is_refused(job):
    folder, command, _ = job
    done = subprocess.run(
        [*command, "--seed", "5"], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert re.search(r"another configuration \(seed: 3407 there, 5 now\)", done.stderr)


def test_score_and_report_need_no_model(job, harness):
    run = job[0] / "job"
    metrics = (run / "after/metrics.json").read_bytes()
    (run / "after/metrics.json").unlink()
    page = (run / "report/index.html").read_text()
    assert harness("score", run).returncode == 0
    assert (run / "after/metrics.json").read_bytes() == metrics
    assert harness("report", run).returncode == 0
    assert (run / "report/index.html").read_text() == page


def test_a_reader_that_has_seen_enough_is_no_error(job):
    program = subprocess.Popen(
        [f"{sys.prefix}/bin/harness", "score", job[0] / "job"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    program.stdout.close()
    assert "Traceback" not in program.stderr.read()
    assert program.wait(timeout=120) == 0


def test_an_adapter_needs_no_training(job, harness):
    adapter = job[0] / "job" / "train" / "adapter"
    done = harness("run", "--adapter", adapter, "--limit", "4", "--output", "r", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.strip().split("\n")[-1])["comparison"]["tokens"]["n_pairs"] == 4


def test_training_goes_on_from_its_last_checkpoint(job, harness, tmp_path):
    """A run stopped after its first step ends with the same log and adapter as the undisturbed one."""
    import shutil

    from safetensors.numpy import load_file

    shutil.copytree(job[0] / "job", tmp_path / "r")
    record = json.loads((tmp_path / "r/run.json").read_text())
    record["stages"]["train"]["state"] = "running"
    (tmp_path / "r/run.json").write_text(json.dumps(record))
    shutil.rmtree(tmp_path / "r/train/adapter")
    shutil.rmtree(tmp_path / "r/train/checkpoints/checkpoint-2")
    done = harness("train", "--limit", "8", *SMALL, "--output", "r")
    assert done.returncode == 0, done.stderr
    whole, resumed = (
        load_file(run / "train/adapter/adapter_model.safetensors") for run in (job[0] / "job", tmp_path / "r")
    )
    assert all((whole[name] == resumed[name]).all() for name in whole)
    timing = {"step_time", "epoch"}
    logs = [
        [{k: v for k, v in json.loads(line).items() if k not in timing} for line in (run / "train/log.jsonl").open()]
        for run in (job[0] / "job", tmp_path / "r")
    ]
    assert logs[0] == logs[1]
