"""--stop-early: a run that stops when it may and says why, and comes to the same end after a kill."""

import json
import shutil

import numpy as np
import pytest
import torch
from conftest import configuration, write_jsonl

from harness.cli.stage_functions import run_stage
from harness.evaluation import evaluate
from harness.evaluation.score_side import score_side
from harness.evaluation.sides import last_of, read_baseline, save_baseline
from harness.plan.case import Earlier
from harness.statistics import compare, stats
from harness.statistics.gate import check
from harness.storage.run_folder import Run

RIGHT = "<start_working_out>\nr\n<end_working_out>\n<SOLUTION>{}</SOLUTION>"
PROBLEMS = 60


@pytest.fixture
def make(tmp_path, adapter):
    """A run of 60 problems: so many right with the adapter, all wrong of the base but those that are lost."""
    rows = [{"question": f"How many is {n} and {n}?", "answer": str(2 * n)} for n in range(PROBLEMS)]
    data = write_jsonl(tmp_path / "sums.jsonl", rows)

    def made(name: str, *settings: str, right: int = PROBLEMS, lost: int = 0, **options) -> Run:
        texts = [
            {"question": row["question"], "adapter": adapted, "text": RIGHT.format(row["answer"] if good else "none")}
            for adapted in (False, True)
            for n, row in enumerate(rows)
            for good in [n < right if adapted else n >= PROBLEMS - lost]
        ]
        replies = write_jsonl(tmp_path / f"replies-{right}-{lost}.jsonl", texts)
        config = configuration(
            *settings, dataset=str(data), engine="scripted", engine_args={"replies": str(replies)},
            **({"stop_early": True, "adapter": str(adapter), "seed": 7} | options),
        )  # fmt: skip
        return Run.create(tmp_path / name, config, "harness run")

    return made


def both(run: Run, on_completion=None) -> Run:
    """Base and adapter together."""
    evaluate.evaluate(run, ["before", "after"], run.config.adapter, True, on_completion)
    return run


def ended(run: Run, side: str = "after") -> dict:
    return run.record.provenance[side]["stopped_early"]


def test_both_sides_of_an_adapter_stop_together(make):
    run = both(make("run"))
    for side in ("before", "after"):
        assert (ended(run, side)["look"], ended(run, side)["looks"], ended(run, side)["problems"]) == (3, 10, 18)
        assert len(run.completions(side)) == 18
    asked = {each.problem_id for each in run.completions("after")}
    assert asked == {each.problem_id for each in run.completions("before")}
    found = compare.compare(*run.evaluations())
    difference = found.metrics["accuracy_flexible"]
    assert (difference.verdict, difference.n_pairs, found.warnings) == ("better", 18, ())
    assert difference.p_adjusted > difference.p_value == 2**-17
    assert {found.metrics[name].verdict for name in ("format_strict", "accuracy_strict", "tokens")} == {"described"}
    wide, ordinary = difference.low, stats.paired_interval(np.ones(18), True)[0]
    assert 0 < wide < ordinary
    assert stats.paired_interval(np.ones(18), True, ended(run)["levels"][2])[0] == wide


def test_the_order_is_random_and_the_seeds(make):
    run = both(make("run"))
    positions = [each.position for each in run.completions("after")]
    assert max(positions) > 30
    first = {each.problem_id for each in run.completions("after")}
    assert {each.problem_id for each in both(make("other", seed=8)).completions("after")} != first
    assert {each.problem_id for each in both(make("again")).completions("after")} == first


def test_no_difference_goes_to_the_end(make):
    run = both(make("run", right=3))
    assert (ended(run)["look"], len(run.completions("before")), len(run.completions("after"))) == (10, 60, 60)
    difference = compare.compare(*run.evaluations()).metrics["accuracy_flexible"]
    assert (difference.verdict, difference.p_value) == ("no evidence either way", 0.25)
    assert difference.p_adjusted >= 0.25


def test_what_looking_costs_is_said(make):
    """8 gained and 1 lost: p is below 5 %, and above what is left of it for the last of ten looks."""
    difference = compare.compare(*both(make("run", right=8, lost=1)).evaluations()).metrics["accuracy_flexible"]
    assert (difference.verdict, difference.p_value) == ("no evidence either way", pytest.approx(10 / 256))
    assert "does not reject (p = 0.039, 0.052 after correcting for 10 looks): the verdict" in difference.note


def trained(run: Run, folder) -> Run:
    """A run whose training left an adapter: the base is whole, then the side after it."""
    shutil.copytree(folder, run.adapter)
    evaluate.evaluate(run, ["before"], None, True, None)
    evaluate.evaluate(run, ["after"], run.adapter_of("after"), True, None)
    return run


def test_in_a_full_run_the_base_is_whole_and_the_other_side_stops(make, adapter, tmp_path):
    run = trained(make("run", adapter=None), adapter)
    assert (len(run.completions("before")), len(run.completions("after"))) == (60, 18)
    assert "stopped_early" not in run.record.provenance["before"]
    found = compare.compare(*run.evaluations())
    assert (found.warnings, found.metrics["accuracy_flexible"].n_pairs) == ((), 18)
    run_stage(run, "report", quiet=True)
    for file in ("index.html", "report.md"):
        text = " ".join((run.path / "report" / file).read_text(encoding="utf-8").replace("\\", "").split())
        assert "Stopped at look 3 of 10, after 18 of 60 problems: the difference in accuracy_flexible" in text
        assert "Better: accuracy_flexible went from 0.0% to 100.0%" in text
        assert "no partner" not in text
    score_side(run, "after", run.completions("after"), quiet=True)
    assert compare.compare(*run.evaluations()) == found


def test_the_terminal_says_it(make, command, capsys):
    from harness.cli import show

    run = both(make("run"))
    run_stage(run, "report", quiet=True)
    show.results(run, as_json=False)
    said = capsys.readouterr().out
    assert "Correct answers, in whatever format: 0.0% before, 100.0% after (+100.0 points): better." in said
    assert said.count("Stopped at look 3 of 10, after 18 of 60 problems") == 1


class Killed(BaseException):
    pass


@pytest.mark.parametrize("replies", [1, 7, 12, 30, 35])
def test_after_a_kill_it_comes_to_the_same_end(make, replies):
    undisturbed, run, seen = both(make("whole")), make("run"), []

    def kill(completion):
        seen.append(completion)
        if len(seen) == replies:
            raise Killed

    with pytest.raises(Killed):
        both(run, kill)
    both(run)
    for side in ("before", "after"):
        assert run.completions(side) == undisturbed.completions(side)
        assert run.evaluation(side).scores == undisturbed.evaluation(side).scores
    assert ended(run) == ended(undisturbed)


def test_a_baseline_in_part_is_never_kept_and_a_whole_one_is_used(tmp_path, adapter):
    def base(name: str, **options) -> Run:
        return Run.create(tmp_path / name, configuration("max_tokens=4", limit=20, **options), "harness run")

    early_run = both(base("early", stop_early=True, adapter=str(adapter)))
    assert not (tmp_path / "cache" / "baselines").exists()
    assert early_run.record.provenance["before"]["cached"] is False
    evaluate.evaluate(base("whole"), ["before"], None, True, None)
    again = both(base("again", stop_early=True, adapter=str(adapter)))
    assert again.record.provenance["before"]["cached"] is True
    assert len(again.completions("before")) == 20


def test_elsewhere_a_side_that_stopped_is_no_clean_sample(make, tmp_path):
    run, whole = both(make("run")), both(make("whole", stop_early=False))
    side, other = last_of(str(run.path)), last_of(str(whole.path))
    (found,) = compare.compare_each(other, [side])
    assert any("run/after: its run stopped at look 3 of 10, when its own" in warning for warning in found.warnings)
    assert found.metrics["format_strict"].verdict == "no evidence either way"
    # What it was never asked is not lost.
    verdict = check(side, other, {})
    assert (verdict.problems, [each.result for each in verdict.metrics if "lost" in each.reason]) == (18, [])
    save_baseline(side, tmp_path / "side.json")
    kept = read_baseline(tmp_path / "side.json")
    assert any("stopped at look 3 of 10" in warning for warning in compare.compare_each(kept, [other])[0].warnings)


def test_a_primary_metric_alone_has_a_verdict(make):
    run = both(make("run", "primary=format_strict", stop_early=False))
    found = compare.compare(*run.evaluations()).metrics
    judged = [name for name, each in found.items() if each.verdict not in ("described", "not compared")]
    assert judged == ["format_strict"]
    assert "stopped_early" not in run.record.provenance["after"]


def test_several_replies_and_a_reward_can_decide(make):
    run = both(make("run", "primary=reward/check_answer", samples=2))
    stopped = ended(run)
    assert stopped["metric"] == "reward/check_answer"
    assert len(run.completions("after")) == 2 * stopped["problems"] < 2 * PROBLEMS
    assert compare.compare(*run.evaluations()).metrics["reward/check_answer"].verdict == "better"


def test_runs_that_do_not_use_it_keep_their_folder(make):
    assert configuration().sha == configuration(stop_early=False, primary="").sha
    assert len({configuration(**each).sha for each in ({}, {"stop_early": True}, {"primary": "format_strict"})}) == 3
    run = make("run", stop_early=False)
    record = json.loads((run.path / "run.json").read_text())
    for key in ("primary", "stop_early"):
        record["configuration"].pop(key)
    (run.path / "run.json").write_text(json.dumps(record))
    assert make("run", stop_early=False).path == run.path


MISTAKES = [
    (("run", "--stop-early"), "--stop-early compares two sides of one run: use `harness run` with --before-after or"),
    (("plan", "--stop-early"), "--stop-early compares two sides"),
    (("eval", "--stop-early"), "--stop-early compares two sides"),
    (("run", "--before-after", "--primary", "acuracy"), "unknown primary metric 'acuracy': did you mean 'accuracy"),
    (("plan", "--primary", "tokens"), "--primary tokens: neither more nor less of it is better: give one of format_"),
    (("plan", "--primary", "language_ratio", "--language", "none"), "the run has no target language: give one of"),
    (
        ("plan", "--primary", "reward/correctness_reward_func"),
        "unknown primary metric 'reward/correctness_reward_func'",
    ),
    (("plan", "--primary", "pass@4"), "unknown primary metric 'pass@4'"),
    (("plan", "--set", 'stop_early="no"'), "recipe key stop_early = 'no': input should be a valid boolean"),
    (("plan", "--primary", ""), "--primary is empty"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES, ids=[message[:40] for _, message in MISTAKES])
def test_mistakes_are_one_line(command, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, said = command(*arguments)
    assert (code, said.count("\n")) == (2, 1), said
    assert message in said
    assert not (tmp_path / "runs").exists()


def test_a_plan_counts_what_an_earlier_run_asked(make):
    run = both(make("run"))
    earlier = Earlier(run.path, run.config, run.record.stages, run.record.provenance)
    assert earlier.work("after") == 2 * 18


def test_a_plan_says_the_looks(command, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    from harness.cli import exit_code_of
    from harness.cli.app import app

    arguments = ["plan", "--model", "gemma3-4b", "--before-after", "--stop-early", "--json"]
    # Without a GPU its training would be refused.
    assert exit_code_of(lambda: app(arguments, standalone_mode=False)) == (0 if torch.cuda.is_available() else 2)
    said = json.loads(capsys.readouterr().out.splitlines()[-1])["stop early"]
    assert said["looks"].startswith("10, after 132, 264, ")
    assert said["at most"] == "1,319 replies with the adapter"
    assert said["for +10 points"].startswith("about 500 problems on average (30 % of the answers changing")
