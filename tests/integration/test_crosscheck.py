"""harness crosscheck: where lm-eval's gsm8k filters and math-verify take another view of a reply than we do."""

import json
import shutil
import sys
from pathlib import Path

import pytest
from conftest import needs_lm_eval, write_jsonl

from harness.lmeval import crosscheck
from harness.parsing import answers
from harness.storage.files import read_journal, write_json
from harness.storage.run_folder import Run

STRICT, FLEXIBLE, MATH = GRADERS = ("lm-eval strict-match", "lm-eval flexible-extract", "math-verify")
INVALID = "[invalid]"
LAYOUT = "<start_working_out>{}<end_working_out><SOLUTION>{}</SOLUTION>"
# The true answer, the reply, whether we take it for right, and what each grader reads in it, a * where that is right.
TRAPS = [
    ("12", "The answer is\n#### 12.", True, ("12.*", "12.*", "12*")),
    ("1072", "That makes 1,072", True, (INVALID, "1,072*", "1072*")),
    ("1,072", "#### 1072", True, ("1072*", "1072*", "1072*")),
    ("72", "It costs 72 dollars", True, (INVALID, "72*", "72*")),
    ("72", "It costs $72.", True, (INVALID, "$72.*", "72*")),
    # The last number of the text is not the answer.
    ("5", f"{LAYOUT.format('r', '5')}\nso 5 of 12", True, (INVALID, "12", "12")),
    ("0.5", "Half of it: \\boxed{1/2}", True, (INVALID, "2", "\\frac{1}{2}*")),
    # As texts, 12.0 is not 12.
    ("12", "The answer is 12.0", True, (INVALID, "12.0", "12.0*")),
    # Commas are dropped wherever they stand.
    ("12", "The points 1,2", False, (INVALID, "1,2*", "1.2")),
    ("12", f"{LAYOUT.format('r', '13')} No, it is 12", False, (INVALID, "12*", "12*")),
    # math-verify reads no number that a tag stands before, and takes the one of the working.
    ("7", LAYOUT.format("Let us see: 3 + 4", "7"), True, (INVALID, "7*", "4")),
    ("7", LAYOUT.format("that is easy", "7"), True, (INVALID, "7*", None)),
    ("7", "\x1b[31m\x07\u202e The answer: [bold] 7.0", True, (INVALID, "7.0", "7.0*")),
    ("7", "", False, (INVALID, INVALID, None)),
    ("1/2", "\\boxed{\\frac{1}{2}}", True, (INVALID, "2", "\\frac{1}{2}*")),
]


@pytest.fixture
def run(command, tmp_path, monkeypatch):
    """Make a run of one reply a problem: run("r", [(true answer, reply), …])."""
    monkeypatch.chdir(tmp_path)

    def make(name: str, replies: list[tuple[str | None, str]], *options: str) -> Path:
        rows = [{"question": f"How much is {n}?", "answer": answer} for n, (answer, _) in enumerate(replies)]
        data = write_jsonl(tmp_path / f"{name}.problems.jsonl", rows)
        texts = write_jsonl(tmp_path / f"{name}.replies.jsonl", [{"text": text} for _, text in replies])
        code, said = command(
            "eval", "--engine", "scripted", "--engine-arg", f"replies={texts}", "--dataset", data, "--output", name,
            "--quiet", *options,
        )  # fmt: skip
        assert code == 0, said
        return tmp_path / name

    return make


def traps() -> list[tuple[str, str]]:
    return [(answer, reply) for answer, reply, _, _ in TRAPS]


@needs_lm_eval
def test_each_grader_reads_what_it_is_known_to_read(run):
    _, (side,) = crosscheck.stored_sides(run("r", traps()))
    checked = crosscheck.check(side, crosscheck.graders(), quiet=True)
    for each, (_, reply, ours, theirs) in zip(checked, TRAPS, strict=True):
        read = {
            name: ruling.extracted and f"{ruling.extracted}{'*' if ruling.right else ''}"
            for name, ruling in each.grader_scores.items()
        }
        assert (each.is_right, read) == (ours, dict(zip(GRADERS, theirs, strict=True))), reply


@needs_lm_eval
def test_the_table_counts_and_the_file_has_every_disagreement(run, program, tmp_path):
    folder = run("r", [*traps(), (None, "no true answer, so 1")])
    done = program("crosscheck", "r", "--json")
    assert done.returncode == 0, done.stderr
    assert "1 replies left out" in done.stderr
    said = json.loads(done.stdout.strip().split("\n")[-1])
    side = said["sides"]["before"]
    assert (side["n"], side["unscored"], side["accuracy_flexible"]) == (15, 1, 12 / 15)
    assert side["graders"][FLEXIBLE] == {
        "n": 15, "right": 9 / 15, "agreement": 8 / 15, "only_they": 2, "only_we": 5, "no_answer": 1, "too_long": 0,
    }  # fmt: skip
    columns = ("only_they", "only_we", "no_answer")
    counts = {name: [each[column] for column in columns] for name, each in side["graders"].items()}
    assert counts == {STRICT: [0, 10, 13], FLEXIBLE: [2, 5, 1], MATH: [1, 3, 2]}
    rows = read_journal(folder / "crosscheck.jsonl")
    assert len(rows) == said["disagreements"] == 10 + 7 + 4
    by_place = {(row["grader"], row["reply"]): row for row in rows}
    assert len(by_place) == len(rows)
    row = by_place[FLEXIBLE, "The points 1,2"]
    assert row["problem_id"] == read_journal(folder / "before/completions.jsonl")[8]["problem_id"]
    assert (row["side"], row["index"], row["answer"]) == ("before", 0, "12")
    assert row["theirs"] == {"extracted": "1,2", "right": True}
    assert row["ours"] == {"extracted": "1,2", "accuracy_strict": 0.0, "accuracy_flexible": 0.0}
    done = program("crosscheck", "r")
    assert all(character == "\n" or character.isprintable() for character in done.stdout)
    assert "they read 12.0, wrong; we read 12.0, right" in done.stdout
    assert "[bold] 7.0" in done.stdout


@needs_lm_eval
def test_the_terminal_shows_the_first_of_many(run, program):
    run("r", [("7" * 90, "x" * 500 + " " + "7" * 90 + ".0")] * 23)
    done = program("crosscheck", "r/before")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    start = lines.index(f"before, {FLEXIBLE}: 23 disagreements")
    assert lines[start + 41] == "  and 3 more"
    assert max(map(len, lines)) < 200
    assert lines[-1] == "46 disagreements: r/crosscheck.jsonl"
    assert done.stderr == "before 23/23\n"


@needs_lm_eval
def test_each_reply_of_a_problem_counts(run):
    """lm-eval's take_first keeps the first reply of a problem alone."""
    folder = run("r", [("1", "#### 1"), ("2", "#### 2")], "--samples", "3", "--set", "temperature=1")
    _, (side,) = crosscheck.stored_sides(folder)
    checked = crosscheck.check(side, crosscheck.graders(), quiet=True)
    assert [each.completion.index for each in checked] == [0, 1, 2] * 2
    for name in GRADERS:
        found = crosscheck.summarise(checked, name)
        assert (found.n, found.agreement) == (6, 1)


@needs_lm_eval
def test_a_run_without_a_true_answer(run, program, tmp_path):
    run("r", [("1", "1")])
    scores = read_journal(tmp_path / "r/before/scores.jsonl")
    scores[0]["scores"] |= {"accuracy_strict": None, "accuracy_flexible": None}
    Run.open(tmp_path / "r").hashes.add(write_jsonl(tmp_path / "r/before/scores.jsonl", scores))
    done = program("crosscheck", "r")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("unknown") == 2 * len(GRADERS)
    assert (tmp_path / "r/crosscheck.jsonl").read_text() == ""


@needs_lm_eval
def test_what_takes_math_verify_too_long_is_no_wrong_answer(monkeypatch):
    monkeypatch.setattr(answers, "MATH_VERIFY_SECONDS", 1)
    grade = crosscheck.graders()[MATH]
    assert grade("\\boxed{9^{9^{9}}}", "12") == crosscheck.GraderScore("9^{9^{9}}", None)
    assert grade("\\boxed{12} or \\boxed{x^{", "12").right is not None
    assert grade("$\\frac{1}{2}$", "0.5") == crosscheck.GraderScore("\\frac{1}{2}", True)


@needs_lm_eval
def test_the_filters_are_those_of_the_installed_task(monkeypatch, tmp_path):
    task = {
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
        "filter_list": [{"name": "new", "filter": [
            {"function": "regex", "regex_pattern": "= (\\w+)"}, {"function": "take_first"},
        ]}],
    }  # fmt: skip
    write_json(tmp_path / crosscheck.TASK, task)
    monkeypatch.setattr(crosscheck.resources, "files", lambda package: tmp_path)
    grade = crosscheck.graders()["lm-eval new"]
    assert grade("= a", "a") == crosscheck.GraderScore("a", True)
    assert grade("= A", "a") == crosscheck.GraderScore("A", False)


@needs_lm_eval
def test_real_solutions_fare_as_the_hazards_say(test_data):
    rows = read_journal(test_data / "gold" / "gsm8k_solutions.jsonl")[::4]
    by = crosscheck.graders()
    agreements = {name: [0, 0] for name in GRADERS}
    for row in rows:
        for place, text in enumerate((row["solution"], row["solution"].replace("\nA: ", "\n#### "))):
            for name in GRADERS:
                agreements[name][place] += by[name](text, row["answer"]).right == row["is_correct"]
    wrong = sum(not row["is_correct"] for row in rows)
    assert agreements == {STRICT: [wrong, len(rows)], FLEXIBLE: [len(rows)] * 2, MATH: [len(rows)] * 2}


@needs_lm_eval
def test_a_copy_with_two_sides_is_checked_whole_or_in_part(run, command, tmp_path):
    folder = run("r", traps())
    shutil.copytree(folder / "before", folder / "after")
    record = json.loads((folder / "run.json").read_text())
    record["stages"]["after"] = record["stages"]["before"]
    record["stages"]["train"] = {"state": "stopped", "seconds": 1.0}
    write_json(folder / "run.json", record)
    assert command("crosscheck", folder)[0] == 0
    assert {row["side"] for row in read_journal(folder / "crosscheck.jsonl")} == {"before", "after"}
    assert command("crosscheck", folder / "after")[0] == 0
    assert {row["side"] for row in read_journal(folder / "crosscheck.jsonl")} == {"after"}


@needs_lm_eval
def test_mistakes_are_one_line(run, command, tmp_path):
    run("r", [("1", "1")])
    shutil.copytree(tmp_path / "r", tmp_path / "torn")
    record = json.loads((tmp_path / "torn/run.json").read_text())
    record["stages"]["before"]["state"] = "running"
    write_json(tmp_path / "torn/run.json", record)
    for place, message in (
        ("nowhere", "nowhere: not a run folder"),
        ("r/after", "r/after: this side is not finished"),
        ("r/before/scores.jsonl", "not a run folder"),
        ("torn", "torn: no finished evaluation"),
        ("torn/before", "torn/before: this side is not finished"),
    ):
        code, said = command("crosscheck", place)
        assert (code, said.count("\n")) == (2, 1), said
        assert message in said
    assert not (tmp_path / "torn/crosscheck.jsonl").exists()


def test_without_lm_eval_it_says_what_to_install(run, command, monkeypatch):
    run("r", [("1", "1")])
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    code, said = command("crosscheck", "r")
    assert (code, said) == (2, "harness: crosscheck needs lm_eval: pip install 'grpo-harness[lm-eval]'\n")
