import json

import pandas
import pytest
from conftest import write_jsonl

from harness import rewards
from harness.parsing.statements import stated

RIGHT = "<start_working_out>r<end_working_out><SOLUTION>1,072</SOLUTION>"
OURS = [{"id": "1", "question": "q", "completion": RIGHT, "answer": "1072"}]
LM_EVAL = [
    {
        "doc_id": 0, "doc": {"question": "q", "answer": "so #### 1072"}, "target": "so #### 1072",
        "filter": "strict-match", "resps": [[RIGHT]], "filtered_resps": ["[invalid]"], "exact_match": 0.0,
    }
]  # fmt: skip
TRL = [{"step": 5, "prompt": "q", "completion": RIGHT, "match_format_exactly": 3.0, "advantage": 0.5}]


def grade(harness, tmp_path, source, *options):
    done = harness(
        "grade", "--dataset", "gsm8k", "--format", "working-out", "--input", source, "--output", "out.jsonl", *options
    )
    assert done.returncode == 0, done.stderr
    return json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0]), done


@pytest.mark.parametrize("rows", [OURS, LM_EVAL], ids=["ours", "lm-eval"])
def test_known_layouts(harness, tmp_path, rows):
    row, _ = grade(harness, tmp_path, write_jsonl(tmp_path / "in.jsonl", rows))
    assert row["extracted"] == "1,072"
    assert row["scores"]["accuracy_strict"] == row["scores"]["accuracy_flexible"] == row["scores"]["format_strict"] == 1
    assert row["reasons"] == {}
    assert rows[0].items() <= row.items()


def test_trls_completions_with_and_without_a_logged_answer(harness, tmp_path):
    path = tmp_path / "completions_00005.parquet"
    pandas.DataFrame(TRL).to_parquet(path)
    row, done = grade(harness, tmp_path, path)
    assert row["scores"]["format_strict"] == 1
    assert row["scores"]["accuracy_strict"] is None
    assert "no field 'answer'" in row["reasons"]["accuracy_strict"]
    assert "row 1" in done.stderr
    pandas.DataFrame([TRL[0] | {"truth": "1072"}]).to_parquet(path)
    row, _ = grade(harness, tmp_path, path, "--answer-column", "truth")
    assert row["scores"]["accuracy_strict"] == 1


def test_lm_evals_filters_do_not_count_a_reply_twice(harness, tmp_path):
    source = write_jsonl(tmp_path / "in.jsonl", [LM_EVAL[0], LM_EVAL[0] | {"filter": "flexible-extract"}])
    grade(harness, tmp_path, source)
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 1
    score = ("rewards", "score", "--preset", "gemma3", "--input", source, "--output", "out.jsonl")
    assert harness(*score, "--variant", "tutorial").returncode == 0
    row = json.loads((tmp_path / "out.jsonl").read_text())
    assert row["scores"]["check_answer"] == -0.5  # 1,072 for 1072, as the tutorial reads it


def test_columns_can_be_named(harness, tmp_path):
    rows = [{"reply": [{"role": "assistant", "content": RIGHT}], "gold": 1072}]
    source = write_jsonl(tmp_path / "in.jsonl", rows)
    row, _ = grade(harness, tmp_path, source, "--completion-column", "reply", "--answer-column", "gold")
    assert row["scores"]["accuracy_strict"] == 1


def test_broken_lines_are_counted_not_zero(harness, tmp_path):
    source = write_jsonl(tmp_path / "in.jsonl", OURS)
    source.write_bytes(source.read_bytes() + b'{"id": 2, "completion": null, "answer": "1"}\n\xff\xfe\n')
    _, done = grade(harness, tmp_path, source)
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["scores"]["accuracy_flexible"] for row in rows] == [1, None, None]
    assert "in.jsonl:2: 'completion' is no text" in done.stderr
    assert "in.jsonl:3: not UTF-8" in rows[2]["line"] + ": " + rows[2]["reasons"]["format_strict"]


def test_gold_labels_are_met(harness, tmp_path, test_data):
    source = test_data / "gold" / "gsm8k_solutions.jsonl"
    grade(harness, tmp_path, source, "--completion-column", "solution")
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert len(rows) == 1000
    assert all(row["scores"]["accuracy_flexible"] == row["is_correct"] for row in rows)
    for preset, layout, full in (
        ("gemma3", "<start_working_out>r<end_working_out><SOLUTION>{}</SOLUTION>", 3.0),
        ("qwen3", "r<end_working_out><SOLUTION>{}</SOLUTION>", 5.0),
        ("deepseek-r1", "<think>r</think>{}", 5.0),
    ):
        check_answer = {each.__name__: each for each in rewards.functions(preset)}["check_answer"]
        completions = [layout.format(stated(row["solution"])) for row in rows]
        paid = check_answer(prompts=None, completions=completions, answer=[row["answer"] for row in rows])
        assert [value == full for value in paid] == [row["is_correct"] for row in rows]


def test_a_named_token_ends_a_reply_and_a_cut_off_one_has_what_it_states(harness, tmp_path):
    rows = [
        OURS[0] | {"completion": f"{RIGHT}<stop> and 99"},
        OURS[0] | {"completion": "so far 1072", "finish_reason": "length"},
        OURS[0] | {"completion": "so it is 1072", "finish_reason": "stop"},
    ]
    grade(harness, tmp_path, write_jsonl(tmp_path / "in.jsonl", rows), "--eos", "<stop>")
    scores = [json.loads(line)["scores"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [each["accuracy_strict"] for each in scores] == [1, 0, 0]
    assert [each["accuracy_flexible"] for each in scores] == [1, 0, 1]
