import json
from datetime import UTC, datetime

import pandas
import pytest
from conftest import write_jsonl

from harness.rewards import corpora
from harness.testing import assert_rewards_match

RIGHT = "<start_working_out>r<end_working_out><SOLUTION>72</SOLUTION>"
ROWS = [
    {"id": "a", "prompt": "q", "completion": RIGHT, "answer": "72"},
    {"id": "b", "prompt": "q", "completion": "72", "answer": "72"},
]
OWN = """
import re
from typing import Any
SOLUTION = re.compile(r"<SOLUTION>([0-9]+)</SOLUTION>")

def number_of(text):
    return SOLUTION.search(text)

def has_number(completions, **_):
    print("loud \\ud800")
    return [1.0 if number_of(each[0]["content"]) else 0.0 for each in completions]

def needs_answer(prompts, completions, answer, log_metric, **_):
    log_metric("asked", 1.0)
    return [float(number_of(each[0]["content"])[1] == truth) for each, truth in zip(completions, answer)]

async def never_called(completion):
    raise RuntimeError
"""


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_score_writes_every_function(harness, tmp_path):
    source = write_jsonl(tmp_path / "in.jsonl", ROWS)
    done = harness("rewards", "score", "--preset", "gemma3", "--input", source, "--output", "out.jsonl")
    assert done.returncode == 0, done.stderr
    first, second = lines(tmp_path / "out.jsonl")
    assert first == ROWS[0] | {
        "preset": "gemma3", "variant": "robust",
        "extracted": "72",
        "scores": {
            "match_format_exactly": 3.0, "match_format_approximately": 2.0, "check_answer": 3.0, "check_numbers": 1.5,
        },
        "reasons": {},
    }  # fmt: skip
    assert second["extracted"] is None


def test_check_finds_drift_and_update_ends_it(harness, tmp_path):
    source = write_jsonl(tmp_path / "in.jsonl", ROWS)
    harness("rewards", "score", "--preset", "gemma3", "--input", source, "--output", "kept.jsonl")
    check = ("rewards", "check", "--preset", "gemma3", "--corpus", "kept.jsonl")
    assert harness(*check).returncode == 0
    kept = lines(tmp_path / "kept.jsonl")
    kept[0]["scores"]["check_answer"] = 1.5
    kept[1]["scores"]["gone"] = 1.0
    write_jsonl(tmp_path / "kept.jsonl", kept)
    drifted = harness(*check)
    assert drifted.returncode == 3
    assert "a: check_answer: expected 1.5, got 3.0: " in drifted.stdout
    assert "⟦answer: 72⟧" in drifted.stdout
    assert "b: gone: expected 1.0, got missing" in drifted.stdout
    updated = harness(*check, "--update")
    assert "expected 1.5, got 3.0" in updated.stdout
    assert "2 rows rewritten" in updated.stdout
    assert harness(*check).returncode == 0


def test_a_users_own_file_is_scored_recorded_and_checked(harness, tmp_path):
    own, source = tmp_path / "mine.py", write_jsonl(tmp_path / "in.jsonl", ROWS)
    own.write_text(OWN)
    done = harness("rewards", "score", "--preset", own, "--input", source, "--output", "mine.jsonl")
    assert done.returncode == 0, done.stderr
    assert "loud" not in done.stdout
    first, second = lines(tmp_path / "mine.jsonl")
    assert first["scores"] == {"has_number": 1.0, "needs_answer": 1.0}
    assert second["scores"] == {"has_number": 0.0, "needs_answer": None}
    assert second["reasons"]["needs_answer"].startswith("raised TypeError")
    check = ("rewards", "check", "--preset", own, "--corpus", "mine.jsonl")
    assert harness(*check).returncode == 0
    assert_rewards_match(own, tmp_path / "mine.jsonl")
    own.write_text(OWN.replace("[0-9]+", "[0-9]"))
    assert harness(*check).returncode == 3
    corpora.open_rewards.cache_clear()
    with pytest.raises(AssertionError, match=r"a: has_number: expected 1.0, got 0.0"):
        assert_rewards_match(own, tmp_path / "mine.jsonl")


def test_functions_can_be_matched_without_a_file(tmp_path):
    def length(completions, **_):
        return [float(len(each[0]["content"])) for each in completions]

    rows = [row | {"scores": {"length": len(row["completion"])}} for row in ROWS]
    corpus = write_jsonl(tmp_path / "rows.jsonl", rows)
    assert_rewards_match([length], corpus)
    corpus.write_text(corpus.read_text() + '{"broken')
    with pytest.raises(AssertionError, match=r"rows.jsonl:3: broken JSON"):
        assert_rewards_match([length], corpus)


BAD = [
    ('{"id": "x", "prompt": "q", "answer": "72"}', "the row has no field 'completion'", "check_answer"),
    ('{"id": "x", "prompt": "q", "completion": 7, "answer": "72"}', "'completion' is no text", "check_answer"),
    (json.dumps(ROWS[0] | {"answer": None}), "'answer' is null", "check_answer"),
    (json.dumps({"id": "x", "completion": RIGHT}), "the row has no field 'answer'", "check_numbers"),
    ('{"id": "x", ', "broken JSON", "match_format_exactly"),
    ("[1, 2]", "not an object", "match_format_exactly"),
]


@pytest.mark.parametrize(("line", "why", "function"), BAD)
def test_bad_rows_are_named_and_never_zero(harness, tmp_path, line, why, function):
    source = tmp_path / "in.jsonl"
    source.write_text(json.dumps(ROWS[0]) + "\n" + line + "\n" + json.dumps(ROWS[1]) + "\n")
    score = ("rewards", "score", "--preset", "gemma3", "--input", source, "--output", "out.jsonl")
    done = harness(*score)
    assert done.returncode == 0, done.stderr
    assert f"in.jsonl:2: {why}" in done.stderr
    rows = lines(tmp_path / "out.jsonl")
    assert len(rows) == 3
    assert rows[1]["scores"][function] is None
    assert why in rows[1]["reasons"][function]
    strict = harness(*score, "--strict")
    assert strict.returncode == 2
    assert f"in.jsonl:2: {why}" in strict.stderr
    assert strict.stderr.count("\n") == 1


SCORE = ("rewards", "score", "--output", "out.jsonl", "--input")
GRADE = ("grade", "--dataset", "gsm8k", "--output", "out.jsonl", "--input")
MISTAKES = [
    ((*SCORE, "in.jsonl", "--preset", "gemma"), "did you mean 'gemma3'"),
    ((*SCORE, "in.jsonl", "--preset", "no.py"), "no such file"),
    ((*SCORE, "in.jsonl", "--preset", "broken.py"), "line 2: SyntaxError"),
    ((*SCORE, "in.jsonl", "--preset", "raises.py"), "line 1: ZeroDivisionError"),
    ((*SCORE, "in.jsonl", "--preset", "empty.py"), "no public function"),
    ((*SCORE, "gone.jsonl", "--preset", "gemma3"), "gone.jsonl"),
    ((*SCORE, "in.jsonl", "--preset", "deepseek-r1", "--variant", "robust", "--language", "xx"), "unknown language"),
    (("rewards", "check", "--corpus", "in.jsonl"), "no row there that"),
    (("rewards", "check", "--preset", "empty.py"), "name yours with --corpus"),
    (("rewards", "explain", "--preset", "gemma3", "gone.txt"), "give a text file"),
    (("rewards", "explain", "--preset", "gemma3", "latin.txt"), "not UTF-8"),
    ((*GRADE, "in.jsonl", "--format", "xml", "--dataset", "gsm"), "did you mean 'gsm8k'"),
    ((*GRADE, "in.jsonl", "--format", "xm"), "did you mean 'xml'"),
    ((*GRADE, "other.jsonl", "--format", "xml"), "--completion-column"),
    ((*GRADE, "other.jsonl", "--format", "xml", "--completion-column", "text"), "--answer-column"),
    (("languages", "--target", "klingon"), "unknown language"),
    (("languages", "--target", "none"), "nothing to count"),
    ((*SCORE, "in.jsonl", "--preset", "gemma3", "--plain"), "--plain is for"),
    (
        (*SCORE, "in.jsonl", "--preset", "gemma3", "--variant", "tutorial", "--prefix", "<think>"),
        "add --variant robust",
    ),
    ((*SCORE, "in.jsonl", "--preset", "twice.py"), "is async"),
]


@pytest.mark.parametrize(("command", "said"), MISTAKES)
def test_mistakes_are_one_line(harness, tmp_path, command, said):
    write_jsonl(tmp_path / "in.jsonl", ROWS)
    write_jsonl(tmp_path / "other.jsonl", [{"text": "x", "gold": "1"}])
    (tmp_path / "broken.py").write_text("x = 1\ndef f(:\n")
    (tmp_path / "raises.py").write_text("1 / 0\n")
    (tmp_path / "empty.py").write_text("def helper(text): return text\n")
    (tmp_path / "twice.py").write_text("async def f(completions): return [1.0]\n")
    (tmp_path / "latin.txt").write_bytes("é".encode("latin-1"))
    done = harness(*command)
    assert done.returncode == 2, done.stdout + done.stderr
    assert said in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_explain_shows_tags_parts_and_why(harness, tmp_path):
    (tmp_path / "reply.txt").write_text(f"Sure!\n{RIGHT.replace('72', '$72')}")
    explain = ("rewards", "explain", "--preset", "gemma3")
    done = harness(*explain, "--variant", "tutorial", "--answer", "72", "reply.txt")
    assert done.returncode == 0, done.stderr
    for part in (
        "2:1  <start_working_out>",
        "broken: text before the layout",
        "⟦answer: $72⟧",
        "'$72'",
        "-0.500  check_answer (tutorial): float() cannot read it",
        "+1.500  check_numbers (tutorial): the first number found is '72'",
    ):
        assert part in done.stdout
    robust = harness(*explain, "reply.txt")
    assert "  null  check_answer (robust): the row has no true answer" in robust.stdout


# What a user's function does -> why its reply is unscored.
TROUBLES = [
    ("raise SystemExit(0)", "raised SystemExit"),
    ("raise BaseException('x')", "raised BaseException: x"),
    ("return 1.0", "raised TypeError"),
    ("return [1.0, 2.0]", "returned 2 values for one completion"),
    ("return [None]", "returned None"),
    ("return ['three']", "raised ValueError"),
    ("return [float('nan')]", "returned nan"),
    ("return [float('-inf')]", "returned -inf"),
    ("return [1e200]", "returned 1e+200"),
    ("return [10**400]", "raised OverflowError"),
]


@pytest.mark.parametrize(("does", "why"), TROUBLES)
def test_a_function_in_trouble_leaves_its_reply_unscored(tmp_path, does, why):
    own = tmp_path / "own.py"
    own.write_text(f"def mine(completions, **_):\n    {does}\n")
    judged = corpora.open_rewards(str(own), "tutorial").score("reply", "72", {"self": 1, "log_metric": 2})
    assert judged.scores == {"mine": None}
    assert judged.reasons["mine"].startswith(why)


def test_a_users_file_may_print_anything_and_import_its_neighbours(tmp_path):
    (tmp_path / "neighbour.py").write_text("PAY = 2.0\n")
    own = tmp_path / "own.py"
    own.write_text(
        "from __future__ import annotations\nimport sys\nfrom dataclasses import dataclass\n"
        "sys.stdout.reconfigure(errors='strict')\nprint('loaded')\n"
        "@dataclass\nclass Kept:\n    x: int = 1\n"
        "def mine(completions, **_):\n    import neighbour\n    print('\\ud800')\n"
        "    return (neighbour.PAY for _ in completions)\n"
    )  # fmt: skip
    assert corpora.open_rewards(str(own), "tutorial").score("reply", "72").scores == {"mine": 2.0}


def test_a_reply_that_is_no_text_is_never_handed_to_a_function(harness, tmp_path):
    (tmp_path / "own.py").write_text("def mine(completions, **_):\n    return [0.0]\n")
    write_jsonl(tmp_path / "in.jsonl", [ROWS[0] | {"completion": None}, ROWS[1]])
    harness("rewards", "score", "--preset", "own.py", "--input", "in.jsonl", "--output", "out.jsonl")
    assert [row["scores"]["mine"] for row in lines(tmp_path / "out.jsonl")] == [None, 0.0]


CORPUS_MISTAKES = [
    ({"preset": "evil.py"}, "preset = 'evil.py' is not valid"),
    ({"preset": 5}, "preset = 5 is not valid"),
    ({"preset": "gemma3", "eos": ["x"]}, "eos = ['x'] is not valid"),
]


@pytest.mark.parametrize(("more", "said"), CORPUS_MISTAKES)
def test_a_corpus_names_presets_and_never_runs_code(harness, tmp_path, more, said):
    (tmp_path / "evil.py").write_text("open('ran', 'w')\ndef mine(completions, **_): return [0.0]\n")
    write_jsonl(tmp_path / "kept.jsonl", [ROWS[0] | {"scores": {}} | more])
    done = harness("rewards", "check", "--corpus", "kept.jsonl")
    assert done.returncode == 2
    assert f"kept.jsonl:1: {said}" in done.stderr
    assert not (tmp_path / "ran").exists()


def test_update_only_writes_what_it_can_read_again(harness, tmp_path):
    (tmp_path / "kept.json").write_text(json.dumps([ROWS[0] | {"scores": {"check_answer": 1.0}}]))
    done = harness("rewards", "check", "--preset", "gemma3", "--corpus", "kept.json", "--update")
    assert done.returncode == 2
    assert "--update writes .jsonl" in done.stderr
    assert json.loads((tmp_path / "kept.json").read_text())


def test_shipped_corpora_can_be_asserted():
    for path in corpora.stored_corpora():
        if path.parent.name == "robust" and path.stem in ("hazards", "qwen3-eos-endoftext"):
            for preset in ("gemma3", "qwen3") if path.stem == "hazards" else ("qwen3",):
                assert_rewards_match(preset, path)


def test_rows_of_odd_tables_are_scored_not_refused(harness, tmp_path):
    (tmp_path / "in.csv").write_text(f"id,completion,answer\n1,{RIGHT},72\n2,,\n")
    done = harness("rewards", "score", "--preset", "gemma3", "--input", "in.csv", "--output", "out.jsonl")
    assert done.returncode == 0, done.stderr
    assert lines(tmp_path / "out.jsonl")[0]["scores"]["check_answer"] == 3.0
    when = datetime(2026, 11, 21, tzinfo=UTC)
    pandas.DataFrame([ROWS[0] | {"when": when}]).to_parquet(tmp_path / "in.parquet")
    done = harness("rewards", "score", "--preset", "gemma3", "--input", "in.parquet", "--output", "out.jsonl")
    assert done.returncode == 0, done.stderr
    assert lines(tmp_path / "out.jsonl")[0]["scores"]["check_answer"] == 3.0


def test_a_numbers_column_is_named_under_the_tutorial_variant(harness, tmp_path):
    write_jsonl(tmp_path / "in.jsonl", [ROWS[0] | {"answer": 72}])
    score = ("rewards", "score", "--preset", "gemma3", "--input", "in.jsonl", "--output", "out.jsonl", "--variant")
    assert "in.jsonl:1: the true answer 72 is no text: write it as one" in harness(*score, "tutorial").stderr
    assert harness(*score, "tutorial", "--strict").returncode == 2
    assert harness(*score, "robust", "--strict").returncode == 0


def test_nothing_but_a_file_is_written_over(harness, tmp_path):
    write_jsonl(tmp_path / "in.jsonl", ROWS)
    (tmp_path / "pipe").mkdir()
    (tmp_path / "real.jsonl").write_text("")
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "real.jsonl")
    score = ("rewards", "score", "--preset", "gemma3", "--input", "in.jsonl", "--output")
    for output, said in (("pipe", "not a file"), ("out.csv", "JSON lines"), ("in.jsonl/out.jsonl", "in.jsonl")):
        done = harness(*score, output)
        assert done.returncode == 2
        assert said in done.stderr
    assert harness(*score, "link.jsonl").returncode == 0
    assert (tmp_path / "link.jsonl").is_symlink()
    assert len(lines(tmp_path / "real.jsonl")) == 2


def test_a_terminal_without_unicode_is_no_trouble(harness, tmp_path):
    (tmp_path / "reply.txt").write_text(RIGHT + "é")
    done = harness("rewards", "explain", "--preset", "gemma3", "reply.txt", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert "?answer: 72?" in done.stdout
