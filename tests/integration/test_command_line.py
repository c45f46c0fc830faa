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
]


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


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("models", "tiny: embedded"),
        ("datasets", "gsm8k: openai/gsm8k"),
        ("recipes", "tiny: harness run --model tiny --before-after"),
        ("presets", "gemma3: "),
        ("doctor", "embedded model"),
        ("--version", "harness 0."),
        ("--help", "Commands"),
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


def test_ask_streams_the_reply_and_names_its_parts(harness):
    done = harness("ask", "Ani has 5 apples. A friend brings 7 more apples. How many apples does Ani have now?")
    assert done.returncode == 0, done.stderr
    assert "format: " in done.stdout
    assert "tokens, ended by stop" in done.stdout


def test_a_side_that_is_done_is_said_to_be(harness, tmp_path):
    command = ("eval", "--limit", "2", "--set", "max_tokens=2", "--output", "r")
    assert "done already" not in harness(*command).stderr
    again = harness(*command, "--engine-arg", "batch_size=1")
    assert again.returncode == 0
    assert "before: done already in r" in again.stderr
    assert again.stdout
