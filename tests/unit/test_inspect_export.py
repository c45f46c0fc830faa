"""A run exported as logs of inspect_ai: what is in them, that we read them back, and that inspect_ai does."""

import json
import os
import subprocess
import sys

import pytest
from conftest import write_jsonl

from harness.data.samples import read_samples
from harness.storage.files import read_journal
from harness.storage.run_folder import Run

# A Python with inspect_ai in it, where that is an environment of its own.
PYTHON = os.environ.get("HARNESS_INSPECT_PYTHON", sys.executable)
RIGHT = "<start_working_out>\nr\n<end_working_out>\n<SOLUTION>{}</SOLUTION>"
ROWS = [{"question": f"How many is {n} and {n}?", "answer": str(2 * n) if n else "none at all"} for n in range(4)]
REPLIES = [
    {"text": RIGHT.format(0)}, {"text": RIGHT.format(2)}, {"text": "4", "finish_reason": "length"},
    {"text": "half a pair: \ud800"},
]  # fmt: skip
READ = """
import json, sys
from inspect_ai.log import list_eval_logs, read_eval_log, read_eval_log_sample_summaries
folder, file = sys.argv[1:]
log = read_eval_log(file)
print(json.dumps({
    "listed": len(list_eval_logs(folder)), "status": log.status,
    "tags": log.eval.tags, "epochs": log.eval.config.epochs,
    "means": {each.name: each.metrics["mean"].value for each in log.results.scores if "mean" in each.metrics},
    "replies": [[each.id, each.epoch, each.output.completion, each.output.stop_reason] for each in log.samples],
    "scores": [{name: score.value for name, score in each.scores.items()} for each in log.samples],
    "summaries": [[each.id, each.epoch, each.input] for each in read_eval_log_sample_summaries(file)],
}))
"""


@pytest.fixture
def exported(command, tmp_path, monkeypatch):
    """A run with two replies to each of four problems, and its log."""
    monkeypatch.chdir(tmp_path)
    data, replies = write_jsonl(tmp_path / "data.jsonl", ROWS), write_jsonl(tmp_path / "replies.jsonl", REPLIES)
    code, said = command(
        "eval", "--engine", "scripted", "--engine-arg", f"replies={replies}", "--dataset", data, "--output", "run",
        "--samples", "2", "--quiet",
    )  # fmt: skip
    assert code == 0, said
    code, said = command("export", "run", "--to", "inspect")
    assert code == 0, said
    (side,) = Run.open(tmp_path / "run").evaluations()
    return side, tmp_path / "run/export/inspect/before.eval"


def test_a_log_has_every_reply_and_is_graded_as_the_run_was(exported, command, tmp_path):
    side, log = exported
    stored = {each.place: each for each in side.completions}
    samples = read_samples(log)
    assert {(each.row["id"], each.index) for each in samples} == stored.keys()
    for sample in samples:
        completion = stored[sample.row["id"], sample.index]
        assert sample.row["input"] == completion.question
        assert sample.completion == completion.reply.encode("utf-8", "replace").decode()
        assert (sample.answer, sample.finish_reason) == (completion.answer, completion.finish_reason)
    out = tmp_path / "out.jsonl"
    code, said = command(
        "grade", "--dataset", "gsm8k", "--format", "working-out", "--input", log, "--output", out
    )  # fmt: skip
    assert code == 0, said
    scores = {each.place: each for each in side.scores}
    for row in read_journal(out):
        ours = scores[row["id"], row["index"]]
        assert row["extracted"] == ours.extracted
        assert row["scores"]["accuracy_strict"] == ours.scores["accuracy_strict"]


def test_the_same_run_gives_the_same_file(exported, command, tmp_path):
    _, log = exported
    first = log.read_bytes()
    assert command("export", "run", "--to", "inspect", "--output", "again")[0] == 0
    assert (tmp_path / "again/before.eval").read_bytes() == first


def test_inspect_ai_reads_the_log(exported):
    if subprocess.run([PYTHON, "-c", "import inspect_ai"], capture_output=True).returncode:
        pytest.skip("no inspect_ai here: install inspect-ai, or name a Python that has it in HARNESS_INSPECT_PYTHON")
    side, log = exported
    done = subprocess.run([PYTHON, "-c", READ, log.parent, log], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout)
    assert (read["listed"], read["status"], read["tags"], read["epochs"]) == (1, "success", ["before"], 2)
    assert read["means"] == {name: each.mean for name, each in side.metrics.items() if each.mean is not None}
    places = [each.place for each in side.completions]
    assert sorted((name, epoch - 1) for name, epoch, *_ in read["replies"]) == sorted(places)
    assert sorted((name, epoch - 1) for name, epoch, _ in read["summaries"]) == sorted(places)
    assert {stop for *_, stop in read["replies"]} == {"stop", "max_tokens"}
    scores = {each.place: each for each in side.scores}
    for (name, epoch, *_), values in zip(read["replies"], read["scores"], strict=True):
        ours = scores[name, epoch - 1].scores
        assert values == {metric: value for metric, value in ours.items() if value is not None}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--to", "inspect"), "--to inspect writes the replies of a RUN"),
        (("run", "--to", "inspect", "--push", "me/mine"), "of the options --output alone"),
        (("run", "--to", "inspect", "--output", "data.jsonl"), "--output data.jsonl: "),
        (("no-run", "--to", "inspect"), "not a run folder"),
    ],
)
def test_mistakes_are_one_line(exported, command, words, said):
    code, told = command("export", *words)
    assert (code, told.count("\n")) == (2, 1), told
    assert said in told
