"""Any stored sides on one page: what pairs, what is said where it is no clean pair, what is refused."""

import json
import shutil

import pytest
from conftest import write_jsonl

from harness.evaluation.sides import last_of, load, read_baseline, save_baseline
from harness.storage.files import write_json

RIGHT = "<start_working_out>\nr\n<end_working_out>\n<SOLUTION>{}</SOLUTION>"


@pytest.fixture
def run(command, tmp_path, monkeypatch):
    """Make a run of 24 problems, so many of them solved: run("a", right=9, "--seed", "1")."""

    monkeypatch.chdir(tmp_path)

    def make(name: str, right: int, *options: str, count: int = 24, prefix: str = "How many is"):
        rows = [{"question": f"{prefix} {n} and {n}?", "answer": str(2 * n)} for n in range(count)]
        data = write_jsonl(tmp_path / f"{prefix}-{count}.jsonl", rows)
        texts = [RIGHT.format(2 * n if n < right else "none") for n in range(count)]
        replies = write_jsonl(tmp_path / f"{name}.replies.jsonl", [{"text": text} for text in texts])
        code, said = command(
            "eval", "--engine", "scripted", "--engine-arg", f"replies={replies}", "--dataset", data, "--output", name,
            "--quiet", *options,
        )  # fmt: skip
        assert code == 0, said
        return tmp_path / name

    return make


def test_three_runs_on_one_page(run, harness, command, tmp_path):
    for name, right in (("a", 3), ("b", 4), ("c", 24)):
        run(name, right)
    done = harness("compare", "a", "b", "c", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["page"] == "comparison/index.html"
    done = harness("compare", "a", "b", "c")
    rows = [line.split()[0] for line in done.stdout.split("\n") if "/before" in line]
    assert rows == ["c/before", "b/before", "a/before"]
    stored = json.loads((tmp_path / "comparison/comparison.json").read_text())
    assert stored["baseline"] == "a/before"
    verdicts = {name: each["metrics"]["accuracy_strict"]["verdict"] for name, each in stored["against"].items()}
    assert verdicts == {"b/before": "no evidence either way", "c/before": "better"}
    page = (tmp_path / "comparison/index.html").read_text()
    assert "Better than a/before: c/before. No evidence either way: b/before." in page
    assert "not a clean pair" not in page
    assert len((tmp_path / "comparison/report.md").read_text().splitlines()) < 150
    assert command("compare", "a", "b", "c", "--baseline", "c")[0] == 0
    assert json.loads((tmp_path / "comparison/comparison.json").read_text())["baseline"] == "c/before"


def test_what_else_differs_is_said(run, command, tmp_path):
    run("a", 3)
    run("b", 4, "--system-prompt", "none", "--set", "temperature=0.3")
    assert command("compare", "a", "b")[0] == 0
    (found,) = json.loads((tmp_path / "comparison/comparison.json").read_text())["against"].values()
    assert "not a clean pair" in found["warnings"][0]
    assert "the prompts differ; temperature: " in found["warnings"][0]
    page = (tmp_path / "comparison/index.html").read_text()
    assert page.index("not a clean pair") < page.index("</header>")
    assert "system_prompt" in page


def test_problems_are_known_by_their_question(run, command, tmp_path):
    run("a", 3)
    run("b", 4, count=8)
    assert command("compare", "a", "b")[0] == 0
    (found,) = json.loads((tmp_path / "comparison/comparison.json").read_text())["against"].values()
    assert found["metrics"]["accuracy_strict"]["n_pairs"] == 8
    assert any(warning.startswith("a/before: 16 of 24 replies have no partner") for warning in found["warnings"])
    both = found["metrics"]["accuracy_strict"]
    # Of the eight common problems alone, as the difference is.
    assert (both["before"], both["after"], both["delta"]) == (3 / 8, 4 / 8, 1 / 8)


def test_lm_evals_samples_are_paired_with_a_run(run, command, tmp_path):
    run("a", 3)
    rows = [
        {"doc_id": n, "doc": {"question": f"How many is {n} and {n}?"}, "target": f"so\n#### {2 * n}", "filter": "none",
         "resps": [[RIGHT.format(2 * n)]], "filtered_resps": [str(2 * n)]}
        for n in reversed(range(24))
    ]  # fmt: skip
    samples = write_jsonl(tmp_path / "samples_gsm8k.jsonl", rows)
    code, said = command("compare", "a", samples, "--dataset", "gsm8k", "--format", "working-out")
    assert code == 0, said
    (found,) = json.loads((tmp_path / "comparison/comparison.json").read_text())["against"].values()
    assert (found["flips"]["gained"], found["flips"]["lost"]) == (21, 0)
    assert "tokens" not in found["metrics"]
    assert "the prompts of one are not known" in found["warnings"][0]


def test_samples_say_what_was_asked_and_where_the_reply_begins(run, command, tmp_path):
    """A prompt that opens the reasoning itself: the opening tag is part of the reply."""
    side = last_of(str(run("a", 3)))
    rows = [
        {"doc_id": n, "doc": {"question": f"How many is {n} and {n}?"}, "target": str(2 * n), "filter": "none",
         "arguments": {"gen_args_0": {"arg_0": f"How many is {n} and {n}?<start_working_out>", "arg_1": {"until": []}}},
         "resps": [[RIGHT.format(2 * n).removeprefix("<start_working_out>")]]}
        for n in range(24)
    ]  # fmt: skip
    samples = write_jsonl(tmp_path / "samples.jsonl", rows)
    code, said = command("compare", "a", samples, "--dataset", "gsm8k", "--format", "working-out")
    assert code == 0, said
    (found,) = json.loads((tmp_path / "comparison/comparison.json").read_text())["against"].values()
    assert found["metrics"]["format_strict"]["after"] == 1.0
    assert "the prompts differ" in found["warnings"][0]
    assert len(side.completions) == found["metrics"]["format_strict"]["n_pairs"]


def test_a_baseline_file_pairs_like_the_run_it_was_made_of(run, tmp_path):
    side = last_of(str(run("a", 3)))
    save_baseline(side, tmp_path / "a.json")
    kept = read_baseline(tmp_path / "a.json")
    assert [each.place for each in kept.completions] == [each.place for each in side.completions]
    assert [each.scores for each in kept.scores] == [each.scores for each in side.scores]
    assert kept.metrics == side.metrics
    assert load(str(tmp_path / "a.json"))[0].name == "a/before"
    assert "SOLUTION" not in (tmp_path / "a.json").read_text()


def test_a_question_that_comes_again_keeps_its_place(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = write_jsonl(tmp_path / "d.jsonl", [{"question": "Why?", "answer": "1"}] * 3)
    replies = write_jsonl(tmp_path / "r.jsonl", [{"text": "1"}])
    command("eval", "--engine", "scripted", "--engine-arg", f"replies={replies}", "--dataset", data, "--output", "a")
    keys = [each.problem_id for each in last_of("a").completions]
    assert len(set(keys)) == 3
    assert keys[1:] == [f"{keys[0]}-2", f"{keys[0]}-3"]


MISTAKES = [
    (("compare", "a"), "one side alone"),
    (("compare", "a", "nowhere"), "nowhere: no run folder"),
    (("compare", "a", "b"), "no problem in common"),
    (("compare", "a", "b", "--baseline", "c"), "unknown baseline 'c'"),
    (("compare", "a", "s.jsonl"), "add --dataset and --format"),
    (("compare", "a", "s.jsonl", "--dataset", "gsm8k", "--format", "xlm"), "did you mean 'xml'"),
    (("compare", "a", "s.jsonl", "--dataset", "gsm8k", "--format", "xml"), "not lm-eval's samples"),
    (("compare", "a", "broken.json"), "not a baseline file"),
    (("compare", "a", "c", "--output", "full"), "not empty and not a comparison"),
    (("compare", "a", "c", "--output", "a"), "not empty and not a comparison"),
    (("compare", "a", "c", "--output", "s.jsonl"), "s.jsonl: File exists"),
    (("compare", "a", "torn"), "torn: its stage 'before' is not finished"),
    (("compare", "a", "torn/before"), "torn/before: this side is not finished"),
    (("compare", "a", "half"), "scores.jsonl: was changed after it was written: run `harness score half`"),
    (("compare",), "Missing argument 'RUN …'"),
]


def test_a_comparison_that_was_killed_is_written_by_the_same_command(run, command, tmp_path):
    run("a", 3)
    run("b", 3)
    (tmp_path / "page").mkdir()
    left = tmp_path / "page/comparison.json.999999999.part"
    left.write_text("{")
    code, said = command("compare", "a", "b", "--output", "page")
    assert code == 0, said
    assert (tmp_path / "page/index.html").is_file()
    assert not left.exists()


def test_mistakes_are_one_line(run, command, tmp_path):
    run("a", 3)
    run("b", 3, prefix="What is")
    for name in ("c", "torn", "half"):
        shutil.copytree(tmp_path / "a", tmp_path / name)
    record = json.loads((tmp_path / "torn/run.json").read_text())
    record["stages"]["before"]["state"] = "running"
    write_json(tmp_path / "torn/run.json", record)
    scores = (tmp_path / "half/before/scores.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "half/before/scores.jsonl").write_text("".join(scores[:-1]))
    write_jsonl(tmp_path / "s.jsonl", [{"completion": "1", "answer": "1"}])
    (tmp_path / "broken.json").write_text("{}")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").touch()
    for mistake, message in MISTAKES:
        code, said = command(*mistake)
        assert (code, said.count("\n")) == (2, 1), said
        assert message in said
        assert not (tmp_path / "comparison").exists()
    assert not (tmp_path / "a/index.html").exists()
