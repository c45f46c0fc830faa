"""Servers that change their model under a side, and servers that only look as if they did."""

from itertools import count

import pytest
from conftest import configuration, serving
from openai_server import Server, completion, reply_to

from harness.cli import exit_code_of
from harness.cli.stage_functions import run_stage
from harness.evaluation import evaluate
from harness.evaluation.same_model import QUESTIONS
from harness.findings import SameModel, StoppedEarly, same_model, stopped_early
from harness.storage.run_folder import Run

PROBLEMS, ASKED = 3, len(QUESTIONS)


@pytest.fixture
def server():
    with serving(Server()) as server:
        yield server


def evaluated(path, server: Server) -> tuple[int, Run]:
    arguments = {"base_url": server.url, "model": "base", "concurrency": "1", "retries": "0"}
    run = Run.create(path, configuration(limit=PROBLEMS, engine="openai", engine_args=arguments), "harness run")
    return exit_code_of(lambda: evaluate.evaluate(run, ["before"], None, True, None)), run


def number_of(asked: dict) -> int:
    return QUESTIONS.index(asked["messages"][-1]["content"])


def answers(*rounds: dict[int, str]):
    """Answers to the fixed questions, of which each round changes some; the last round is every later one."""
    asked = count()

    def fixed(request: dict) -> dict:
        changed = rounds[min(next(asked) // ASKED, len(rounds) - 1)]
        return completion(changed.get(number_of(request), reply_to(request)))

    return fixed


ALL = dict.fromkeys(range(ASKED), "another model")
MOST = {place: text for place, text in ALL.items() if place <= ASKED // 2}
HALF = {place: text for place, text in ALL.items() if place < ASKED // 2}
AS_BEFORE = {}
# The answers by round: two before the first reply, one after the last, and another where one changed.
CASES = {
    "the same": ([AS_BEFORE], ASKED, 0, False),
    "another model": ([AS_BEFORE] * 2 + [ALL], ASKED, ASKED, True),
    "another in most": ([AS_BEFORE] * 2 + [MOST], ASKED, len(MOST), True),
    "half": ([AS_BEFORE] * 2 + [HALF], ASKED, len(HALF), False),
    "once otherwise": ([AS_BEFORE] * 2 + [ALL, AS_BEFORE], ASKED, 0, False),
    "otherwise before the first reply": ([AS_BEFORE, HALF, AS_BEFORE], ASKED - len(HALF), 0, False),
    "half of them never steady, the others another's": ([AS_BEFORE, HALF, ALL], ASKED - len(HALF), 3, True),
    "never twice the same": ([AS_BEFORE, ALL, dict.fromkeys(ALL, "x"), dict.fromkeys(ALL, "y")], 0, 0, False),
    "one that is steady, and changes": (
        [AS_BEFORE, dict.fromkeys(range(1, ASKED), "x"), ALL], 1, 1, False,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("rounds", "steady", "changed", "is_another"), CASES.values(), ids=CASES.keys())
def test_what_counts_as_another_model(tmp_path, server, rounds, steady, changed, is_another):
    server.fixed = answers(*rounds)
    code, run = evaluated(tmp_path / "run", server)
    found = same_model(run.record.provenance["before"])
    assert (code, found.steady, found.changed, found.is_another) == (0, steady, changed, is_another)


def test_another_model_is_the_first_that_a_report_says(tmp_path, server):
    server.fixed = answers(*[AS_BEFORE] * 2, ALL)
    _, run = evaluated(tmp_path / "run", server)
    run_stage(run, "report", quiet=True)
    page, markdown = (run.report.with_name(name).read_text(encoding="utf-8") for name in ("index.html", "report.md"))
    said = "before: the server changed its model since the first reply (fixed questions that are answered otherwise: 6"
    assert page.index(said) < page.index("<table")
    assert markdown.index(said) < markdown.index("\n|")


@pytest.mark.parametrize("names", [("base", "other"), ("base-2", "base-3")])
def test_replies_under_two_names_are_of_two_models(tmp_path, server, names):
    named = iter(names)
    server.misbehave = lambda count: (
        lambda handler: handler.answer(200, completion("7") | {"model": next(named, names[-1])})
    )
    _, run = evaluated(tmp_path / "run", server)
    found = same_model(run.record.provenance["before"])
    assert (found.changed, found.models, found.is_another) == (0, [*names], True)


def test_configurations_are_noted_alone(tmp_path, server):
    server.misbehave = lambda count: (
        lambda handler: handler.answer(200, completion("7") | {"model": "base", "system_fingerprint": f"fp_{count}"})
    )
    _, run = evaluated(tmp_path / "run", server)
    found = same_model(run.record.provenance["before"])
    assert (found.models, found.configurations, found.is_another) == (["base"], ["fp_1", "fp_2", "fp_3"], False)
    run_stage(run, "report", quiet=True)
    assert "before: the server named 3 configurations of its own" in run.report.read_text(encoding="utf-8")


def test_a_side_is_not_continued_with_another_model(tmp_path, server, capsys):
    server.misbehave = lambda count: (lambda handler: handler.answer(400, {})) if count == 2 else None
    code, run = evaluated(tmp_path / "run", server)
    assert code == 2
    journal = run.path / "before" / "completions.jsonl"
    kept = journal.read_bytes()
    server.fixed = answers(ALL)
    capsys.readouterr()
    assert evaluated(tmp_path / "run", server)[0] == 2
    assert (
        "answered otherwise: 6 of 6; names that it gave the model: 0): serve that one again" in capsys.readouterr().err
    )
    assert journal.read_bytes() == kept
    server.fixed = answers(AS_BEFORE)
    assert evaluated(tmp_path / "run", server)[0] == 0
    assert journal.read_bytes().startswith(kept)


def test_a_side_whose_server_never_answers_alike_is_continued(tmp_path, server):
    server.misbehave = lambda count: (lambda handler: handler.answer(400, {})) if count == 2 else None
    server.fixed = answers(AS_BEFORE, ALL)
    assert evaluated(tmp_path / "run", server)[0] == 2
    code, run = evaluated(tmp_path / "run", server)
    found = same_model(run.record.provenance["before"])
    assert (code, found.steady, found.is_another, len(run.completions("before"))) == (0, 0, False, PROBLEMS)


def test_a_side_whose_end_could_not_be_checked_is_checked_later(tmp_path, server, capsys):
    asked = count()

    def fixed(request: dict) -> dict:
        return completion(reply_to(request), tokens=9 if next(asked) < 2 * ASKED else None)

    server.fixed = fixed
    assert evaluated(tmp_path / "run", server)[0] == 2
    server.fixed = answers(ALL)
    server.asked = []
    code, run = evaluated(tmp_path / "run", server)
    assert (code, server.asked) == (0, [])
    assert same_model(run.record.provenance["before"]).is_another


def test_what_only_a_newer_program_records_is_left_out():
    known = SameModel(("one", None), 0, ("tiny",), ())
    early = StoppedEarly("accuracy_strict", 1, 2, 10, 20, (0.01, 0.04))
    assert same_model({"same_model": vars(known) | {"new": 1}}) == known
    assert stopped_early({"stopped_early": vars(early) | {"new": 1}}) == early
