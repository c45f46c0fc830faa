"""Replies made elsewhere: whose beginning the prompt holds, several a row, what is no reply, columns and runs."""

import json

import pytest
from conftest import write_jsonl

from harness.data.samples import NoReplies, read_samples
from harness.errors import UserError
from harness.evaluation.sides import Reading, load
from harness.parsing.named_formats import FORMATS
from harness.rewards import corpora
from harness.storage.files import read_journal

THINK = "r</think>72"
LAYOUT = "r<end_working_out><SOLUTION>72</SOLUTION>"
DOC = {"question": "q", "answer": "#### 72"}
LM_EVAL = {"doc_id": 0, "doc": DOC, "target": "#### 72", "resps": [[THINK]], "filtered_resps": ["72"], "filter": "none"}
GENERATED = {"gen_args_0": {"arg_0": "q <think>\n", "arg_1": {"until": []}}}
# The journal of a run has the prefix and the text apart.
JOURNAL = {"problem_id": "p", "index": 0, "text": THINK, "prompt_sha": "0", "answer": "72", "prefix": "<think>"}


@pytest.mark.parametrize(
    "row",
    [
        {"completion": THINK, "answer": "72", "prompt": "q <think>\n"},
        {"completion": THINK, "answer": "72", "prefix": "<think>"},
        {"completion": THINK, "answer": "72", "prompt": [
            {"role": "user", "content": "q"}, {"role": "assistant", "content": "<think>"}]},
        {"step": 1, "prompt": "<|user|>q<|assistant|><think>", "completion": THINK, "advantage": 0.5, "answer": "72"},
        LM_EVAL | {"arguments": GENERATED},
        LM_EVAL | {"arguments": [["q <think>", {"until": []}]]},
        JOURNAL,
    ],
    ids=["prompt", "prefix", "messages", "trl", "lm-eval", "lm-eval in Python", "journal"],
)  # fmt: skip
def test_what_a_prompt_ends_with_belongs_to_the_reply(command, tmp_path, row):
    source, out = write_jsonl(tmp_path / "in.jsonl", [row]), tmp_path / "out.jsonl"
    grade = ("grade", "--dataset", "gsm8k", "--format", "think", "--input", source, "--output", out)
    assert command(*grade)[0] == 0
    assert read_journal(out)[0]["scores"]["accuracy_strict"] == 1
    score = ("rewards", "score", "--preset", "deepseek-r1", "--input", source, "--output", out)
    assert command(*score)[0] == 0
    assert read_journal(out)[0]["scores"]["match_format_exactly"] == 3.0
    (sample,) = read_samples(source)
    assert sample.opening(FORMATS["think"]) == "<think>"


@pytest.mark.parametrize(
    ("row", "opening"),
    [
        ({"completion": THINK, "answer": "72", "prompt": "a question"}, None),
        ({"completion": THINK, "answer": "72", "prompt": [{"role": "user", "content": "say <think>"}]}, None),
        ({"completion": THINK, "answer": "72"}, None),
        (LM_EVAL, None),
        (LM_EVAL | {"arguments": {"gen_args_0": {"arg_0": "q", "arg_1": {}}}}, ""),
        (JOURNAL | {"prefix": ""}, ""),
    ],
)
def test_a_prompt_that_ends_otherwise_gives_nothing(tmp_path, row, opening):
    (sample,) = read_samples(write_jsonl(tmp_path / "in.jsonl", [row]))
    assert sample.opening(FORMATS["think"]) == opening


def test_the_qwen3_presets_own_prompt_opens_the_reasoning_unless_a_rendered_one_does_not(tmp_path):
    ours = {"completion": LAYOUT, "answer": "72", "prompt": "a question"}
    theirs = LM_EVAL | {"resps": [[LAYOUT]], "arguments": {"gen_args_0": {"arg_0": "q", "arg_1": {}}}}
    for row, paid in ((ours, 3.0), (theirs, 0.0)):
        (sample,) = read_samples(write_jsonl(tmp_path / "in.jsonl", [row]))
        judged = corpora.score(corpora.open_rewards_for(sample, "qwen3", "robust"), sample)
        assert judged.scores["match_format_exactly"] == paid


OTHER = {"doc_id": 1, "doc": {"question": "q2"}}
# Rows, and the replies in them as (text, index).
SEVERAL = [
    ([LM_EVAL | {"resps": [["a", "b"]], "filtered_resps": [["a", "b"]]}], [("a", 0), ("b", 1)]),
    ([LM_EVAL | {"resps": [["a"], ["b"]]}], [("a", 0), ("b", 1)]),
    ([LM_EVAL | {"resps": [["a"]]}, LM_EVAL | {"resps": [["a"]], "filter": "strict-match"}], [("a", None)]),
    # Without a `filter` field, each once.
    ([{key: value for key, value in LM_EVAL.items() if key != "filter"}] * 2, [(THINK, None)]),
    ([LM_EVAL, LM_EVAL | OTHER], [(THINK, None), (THINK, None)]),
    # Two tasks in one file, whose filters have other names.
    ([LM_EVAL, LM_EVAL | OTHER | {"filter": "last"}], [(THINK, None), (THINK, None)]),
    # The same reply drawn twice for one filter.
    ([LM_EVAL, LM_EVAL], [(THINK, None), (THINK, None)]),
    ([{"completion": ["a", "b"], "answer": "72"}], [("a", 0), ("b", 1)]),
    ([{"completion": ["a", "b"], "answer": "72", "index": 1}], [("b", 1)]),
    ([{"completion": [{"role": "assistant", "content": "a"}], "answer": "72"}], [("a", None)]),
    ([{"completion": [], "answer": "72"}], [(None, None)]),
    ([JOURNAL, JOURNAL | {"index": 1, "text": "b"}], [(THINK, None), ("b", None)]),
]


@pytest.mark.parametrize(("rows", "replies"), SEVERAL)
def test_no_reply_is_dropped_and_none_comes_twice(tmp_path, rows, replies):
    samples = read_samples(write_jsonl(tmp_path / "in.jsonl", rows))
    assert [(sample.completion, sample.index) for sample in samples] == replies


def test_rows_with_several_replies_come_out_a_line_each_and_hold(command, tmp_path):
    source = write_jsonl(tmp_path / "in.jsonl", [{"completion": [f"<think>{THINK}", "no"], "answer": "72"}])
    out = tmp_path / "out.jsonl"
    assert command("grade", "--dataset", "gsm8k", "--format", "think", "--input", source, "--output", out)[0] == 0
    assert [(row["index"], row["scores"]["accuracy_flexible"]) for row in read_journal(out)] == [(0, 1), (1, 0)]
    assert command("rewards", "score", "--preset", "deepseek-r1", "--input", source, "--output", out)[0] == 0
    assert [(row["preset"], row["variant"]) for row in read_journal(out)] == [("deepseek-r1", "robust")] * 2
    assert command("rewards", "check", "--corpus", out)[0] == 0


def test_several_replies_a_sample_are_compared_at_their_index(tmp_path):
    source = write_jsonl(tmp_path / "s.jsonl", [LM_EVAL | {"resps": [["a", "b"]]}, LM_EVAL | OTHER])
    (side,) = load(str(source), Reading.of("gsm8k", "think", None))
    assert [(each.index, each.text) for each in side.completions] == [(0, "a"), (1, "b"), (0, THINK)]
    assert len({each.problem_id for each in side.completions}) == 2


WEIGHED = {"gen_args_0": {"arg_0": "q", "arg_1": " no"}, "gen_args_1": {"arg_0": "q", "arg_1": " yes"}}


@pytest.mark.parametrize(
    "row",
    [
        {"resps": [[["-1.5", "False"]], [["-0.5", "True"]]], "arguments": WEIGHED},
        {"resps": [[["-1.5", "False"]]]},
        {"resps": [[[-1.5, False]]]},
        {"resps": [["-123.4"]], "arguments": {"gen_args_0": {"arg_0": "a text"}}},
    ],
    ids=["choices", "texts", "numbers", "rolling"],
)
def test_log_likelihoods_are_refused_by_name(command, tmp_path, row):
    source = write_jsonl(tmp_path / "s.jsonl", [LM_EVAL | row])
    with pytest.raises(NoReplies, match=r"s\.jsonl:1: has log-likelihoods, not replies"):
        read_samples(source)
    with pytest.raises(UserError, match="has log-likelihoods"):
        load(str(source), Reading.of("gsm8k", "think", None))
    code, said = command(
        "grade", "--dataset", "gsm8k", "--format", "think", "--input", source, "--output", tmp_path / "o.jsonl"
    )
    assert (code, said.count("\n")) == (2, 1)


COLUMNS = [
    ({"response": "a", "answer": "1"}, {}, "did you mean --completion-column response?"),
    ({"model_output": "a", "gold": "1"}, {"completion_column": "model_output"}, "did you mean --answer-column gold?"),
    ({"completoin": "a", "answer": "1"}, {}, "did you mean --completion-column completoin?"),
    ({"reply": "a", "answer": "1"}, {"completion_column": "repyl"}, "did you mean --completion-column reply?"),
    ({"x": "a", "answer": "1"}, {}, r"\(columns: x, answer\): name it with --completion-column"),
]


@pytest.mark.parametrize(("row", "named", "said"), COLUMNS)
def test_an_unknown_column_names_option_and_likely_column(tmp_path, row, named, said):
    with pytest.raises(UserError, match=said):
        read_samples(write_jsonl(tmp_path / "in.jsonl", [row]), **named)


def test_an_answer_may_lie_in_an_object(tmp_path):
    row = {"completion": "a", "reward_model": {"style": "rule", "ground_truth": "72"}}
    path = write_jsonl(tmp_path / "in.jsonl", [row])
    assert read_samples(path, answer_column="reward_model.ground_truth")[0].answer == "72"
    with pytest.raises(UserError, match=r"did you mean --answer-column reward_model\.ground_truth\?"):
        read_samples(path)


def test_a_row_of_csv_with_too_many_fields_is_named_and_not_judged(tmp_path):
    (tmp_path / "in.csv").write_text("completion,answer\nso 1230,1,230\nso 5,5\n")
    faults = [(sample.completion, sample.fault) for sample in read_samples(tmp_path / "in.csv")]
    assert faults == [(None, "3 fields under 2 columns"), ("so 5", None)]


@pytest.fixture
def run(command, tmp_path, monkeypatch):
    """A run of two replies in a format and with a language that are not gsm8k's, behind a prompt that opens the tag."""
    monkeypatch.chdir(tmp_path)
    data = write_jsonl(tmp_path / "d.jsonl", [{"question": f"q{n}", "answer": f"x^{n + 1}"} for n in range(2)])
    replies = write_jsonl(tmp_path / "r.jsonl", [{"text": "<think>saya</think>$x^1$"}, {"text": "x"}])
    code, said = command(
        "eval", "--engine", "scripted", "--engine-arg", f"replies={replies}", "--dataset", data, "--format", "think",
        "--output", "r",
    )  # fmt: skip
    assert code == 0, said
    return tmp_path / "r"


def test_our_own_journal_is_read_without_options(command, run):
    journal, out = run / "before/completions.jsonl", run.parent / "out.jsonl"
    stored = read_journal(run / "before/scores.jsonl")
    assert command("grade", "--input", journal, "--output", out)[0] == 0
    for row, kept in zip(read_journal(out), stored, strict=True):
        assert row["scores"].items() <= kept["scores"].items()
    assert command("rewards", "score", "--input", journal, "--output", out)[0] == 0
    for row, kept in zip(read_journal(out), stored, strict=True):
        assert {f"reward/{name}": value for name, value in row["scores"].items()}.items() <= kept["scores"].items()


def test_a_journal_without_its_run_needs_the_options(command, run):
    lone = run.parent / "completions.jsonl"
    lone.write_bytes((run / "before/completions.jsonl").read_bytes())
    for command_line, said in (
        (("grade",), "completions.jsonl: does not say how to score its replies: add --dataset and --format"),
        (("grade", "--format", "xml"), "add --dataset"),
        (("rewards", "score"), "completions.jsonl: does not say which rewards: add --preset gemma3 or"),
    ):
        code, error = command(*command_line, "--input", lone, "--output", "o.jsonl")
        assert (code, error.count("\n")) == (2, 1)
        assert said in error
    assert command("grade", "--dataset", "dapo", "--format", "think", "--input", lone, "--output", "o.jsonl")[0] == 0


def test_the_variant_stands_beside_every_figure(command, run, capsys):
    journal = run / "before/completions.jsonl"

    def said(*arguments):
        from harness.cli import exit_code_of
        from harness.cli.app import app

        assert exit_code_of(lambda: app([*map(str, arguments)], standalone_mode=False)) == 0
        return capsys.readouterr().out

    reply = run.parent / "reply.txt"
    reply.write_text("<think>saya</think>72")
    for named, variant in (((), "robust"), (("--variant", "tutorial"), "tutorial")):
        table = said("rewards", "score", "--input", journal, "--output", "o.jsonl", *named)
        assert f"check_numbers ({variant})" in table
        result = said("rewards", "score", "--input", journal, "--output", "o.jsonl", "--json", *named)
        assert json.loads(result)["variant"] == variant
        explained = said("rewards", "explain", "--preset", "deepseek-r1", "--answer", "72", reply, *named)
        assert (f"check_answer ({variant}): " in explained, f"in all ({variant})" in explained) == (True, True)
    assert "reward/check_numbers (robust)" in said("score", "r")
    said("report", "r")
    page = (run / "report/index.html").read_text()
    assert page.count("numbers (robust)") == 1
    assert "reward (robust)" in page
    assert "check\\_numbers (robust)" in (run / "report/report.md").read_text()
