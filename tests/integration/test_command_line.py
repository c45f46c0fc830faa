import json
import os
import pty
import re
import shutil
import subprocess
import sys

import pytest
from conftest import write_jsonl

MISTAKES = [
    (("run", "--model", "tyni"), "did you mean 'tiny'"),
    (("run", "--dataset", "gsm8"), "did you mean 'gsm8k'"),
    (("run", "--dataset", "nowhere.jsonl"), "--dataset nowhere.jsonl: no such file"),
    (("run", "--dataset", "gsm8k", "--data", "nowhere"), "nowhere: no such file or folder"),
    (("run", "--format", "xlm"), "did you mean 'xml'"),
    (("run", "--engine", "transformer"), "did you mean 'transformers'"),
    (("run", "--before-after", "--trainer", "tlr"), "did you mean 'trl'"),
    (("run", "--set", "stepps=3"), "did you mean 'steps'"),
    (("run", "--limit", "0"), "limit = 0"),
    (("run", "--adapter", "nowhere"), "adapter_config.json"),
    (("run", "--before-after", "--split", "train"), "evaluates the problems that the run trains on"),
    (("run", "--before-after", "--set", "accumulation=5"), "accumulation = 5"),
    (("run", "--output", "file/run"), "cannot be written"),
    (("run", "--nonsense"), "--nonsense"),
    (("run", "--dataset", ""), "--dataset is empty"),
    (("run", "--data", "file"), "does not go with the embedded"),
    (("run", "--dataset", "openai/gsm8k"), "did you mean 'gsm8k'"),
    (("run", "--split", "nonsense"), "unknown split 'nonsense'"),
    (("run", "--system-prompt", "nowhere.txt"), "--system-prompt nowhere.txt"),
    (("run", "--engine-arg", "batchsize=3"), "did you mean 'batch_size'"),
    (("run", "--engine", "scripted", "--engine-arg", "replies=nowhere.jsonl"), "nowhere.jsonl"),
    (("train", "--adapter", "."), "adapter_config.json"),
    (("plan", "--trainer", "tlr"), "did you mean 'trl'"),
    (("run", "--fresh", "--output", "."), "not empty and not a run folder"),
    (("rum",), "rum"),
    (("score",), "RUN"),
    (("score", "."), "not a run folder"),
    (("report", "nowhere"), "not a run folder"),
    (("run", "--max-steps", "3"), "max_steps is called steps here: --set steps=VALUE: see harness run --help"),
    (("run", "--learning-rate", "1"), "it is a recipe key: --set learning_rate=VALUE: see harness run --help"),
    (("rewards", "explain", "--variannt", "robust"), "did you mean --variant?: see harness rewards explain --help"),
    (("train", "--output-dir", "r"), "output_dir is called --output here: see harness train --help"),
    (("run", "--set", "load_in_4bit=true"), "load_in_4bit is called weights here (weights=4-bit)"),
    (("run", "--set", "wombat=1"), "unknown recipe key 'wombat': harness settings lists all"),
    (("run", "--model", "wombat"), "unknown model 'wombat': known: deepseek-r1-qwen3-8b, "),
    (("eval", "--engine-arg", "batch_size=x"), "batch_size=x: give a whole number of at least 1"),
]
# Mistakes that only an engine notices, when the run's folder is there already.
LATE_MISTAKES = [("--engine-arg", "batch_size=x"), ("--engine-arg", "device=cuda"), ("--set", "chat_template=foo")]


@pytest.mark.parametrize(
    ("arguments", "message"), MISTAKES, ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_a_mistake_is_one_line_and_exit_2_and_leaves_nothing(harness, tmp_path, arguments, message):
    (tmp_path / "file").write_text("")
    done = harness(*arguments)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("command", ["run", "eval", "languages"])
@pytest.mark.parametrize("mistake", LATE_MISTAKES, ids=" ".join)
def test_a_refused_run_leaves_no_folder(harness, tmp_path, command, mistake):
    done = harness(command, *mistake)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("models", "tiny: embedded"),
        ("datasets", "gsm8k: openai/gsm8k"),
        ("recipes", "tiny: harness run --model tiny --before-after"),
        ("presets", "gemma3: "),
        ("doctor", "embedded model"),
        ("--version", "harness 0."),
        ("--help", "Stored runs and replies"),
        ("settings", "lora_rank "),
        ("rewards", "explain"),
        ("lm-eval", "path"),
    ],
)
def test_what_there_is(harness, command, expected):
    done = harness(command)
    assert done.returncode == 0, done.stderr
    assert expected in done.stdout


def test_verbose_prints_a_line_a_reply(harness, tmp_path):
    block = "<start_working_out>x<end_working_out><SOLUTION>{}</SOLUTION>"
    replies = write_jsonl(tmp_path / "r.jsonl", [{"text": block.format(n)} for n in (1, 5)])
    data = write_jsonl(tmp_path / "d.jsonl", [{"question": "?", "answer": 1}, {"question": "??", "answer": 2}])
    done = harness("eval", "--engine", "scripted", "--engine-arg", f"replies={replies}", "--dataset", data, "--verbose")
    assert done.stdout.startswith(
        "1/2 right 100.0% predicted 1 truth 1\n2/2 wrong 50.0% predicted 5 truth 2\n"
        "1/2 correct and in the required format\n"
    )


def test_rows_that_could_not_be_graded_are_told(harness, tmp_path):
    replies = write_jsonl(tmp_path / "r.jsonl", [{"text": "x"}])
    data = write_jsonl(tmp_path / "d.jsonl", [{"question": "?", "answer": 1}, {"question": "??"}, {"question": ""}])
    done = harness("eval", "--engine", "scripted", "--engine-arg", f"replies={replies}", "--dataset", data)
    assert "rows left out: 1 (no text in column 'question')" in done.stderr
    assert "problems without a true answer: 1" in done.stderr


def test_ask_says_what_it_asks_streams_the_reply_and_names_its_parts(harness):
    """The example of harness alone and of the READMEs, which the embedded model gets right."""
    question = "Ani puts eggs in 6 rows with 12 in each row. How many eggs is that?"
    assert question in harness().stdout
    done = harness("ask", question)
    assert done.returncode == 0, done.stderr
    assert "a toy of 2.3 million parameters" in done.stderr
    assert "answer: 72\n" in done.stdout
    assert "tokens, ended by stop" in done.stdout


def test_alone_it_shows_the_commands_of_a_first_day(harness):
    done = harness()
    assert (done.returncode, done.stderr) == (0, "")
    assert re.findall(r"^  harness (\w+)", done.stdout, re.MULTILINE) == ["ask", "run", "plan"]
    assert max(map(len, done.stdout.splitlines())) <= 80
    # The one that no other test runs; it is not refused on a machine without a GPU.
    suggested = re.search(r"^  harness (plan .*)", done.stdout, re.MULTILINE)[1]
    assert harness(*suggested.split()).returncode == 0


def test_run_alone_says_what_it_measures_and_what_to_type_next(harness):
    small = ("--limit", "2", "--set", "max_tokens=2")
    done = harness("run", *small)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("measuring the embedded model, without training it")
    assert "next: harness run --before-after trains it" in done.stderr
    assert "embedded model" not in harness("run", *small, "--quiet").stderr


JSON_ALONE = [
    ("eval", "--limit", "2", "--set", "max_tokens=2", "--verbose", "--json"),
    ("score", "r", "--json"),
    ("report", "r", "--json"),
    ("compare", "r", "other", "--json"),
    ("gate", "r", "--baseline", "other", "--json"),
    ("plan", "--before-after", "--json"),
    ("rewards", "check", "--preset", "xml", "--json"),
    ("export", "r", "--to", "lora", "--json"),
]


def test_with_json_nothing_else_is_on_stdout(harness, job, tmp_path):
    shutil.copytree(job, tmp_path / "r")
    shutil.copytree(job, tmp_path / "other")
    for command in JSON_ALONE:
        done = harness(*command)
        assert done.returncode in (0, 3), done.stderr
        json.loads(done.stdout)


def test_explain_says_that_it_waits(harness):
    terminal, its_end = pty.openpty()
    program = [f"{sys.prefix}/bin/harness", "rewards", "explain", "--preset", "xml", "--answer", "1"]
    process = subprocess.Popen(program, stdin=its_end, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr.readline().startswith("waiting for a reply on stdin")
    os.write(terminal, b"<answer>1</answer>\n\x04")
    assert "in all (robust)" in process.communicate(timeout=60)[0]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("rewards", "explain", "--preset", "xml", "--answer", "1"), 0, "in all (robust)"),
        (("export", "--model", "tiny", "--adapter", "none", "--to", "lora", "--push", "me/mine"), 2, "harness: "),
    ],
)
def test_a_closed_input_is_an_empty_one(words, code, said, tmp_path):
    command = " ".join([f"{sys.prefix}/bin/harness", *words, "<&-"])
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_a_side_that_is_done_is_said_to_be(harness, tmp_path):
    command = ("eval", "--limit", "2", "--set", "max_tokens=2", "--output", "r")
    assert "done already" not in harness(*command).stderr
    again = harness(*command, "--engine-arg", "batch_size=1")
    assert again.returncode == 0
    assert "before: done already in r" in again.stderr
    assert again.stdout
