"""--stop-early: limits as published, a run that stops when it may and says why, and the same end after a kill."""

import json
import re
import shutil

import numpy as np
import pytest
from conftest import configuration, write_jsonl
from scipy.stats import multivariate_normal

from baselines.statistics import early
from harness.cli.stage_functions import run_stage
from harness.evaluation import evaluate
from harness.evaluation.score_side import score_side
from harness.evaluation.sides import last_of, read_baseline, save_baseline
from harness.plan.case import Earlier
from harness.statistics import compare, sequential, stats
from harness.statistics.gate import check
from harness.storage.run_folder import Run
from harness.types import StoppedEarly

RIGHT = "<start_working_out>\nr\n<end_working_out>\n<SOLUTION>{}</SOLUTION>"
PROBLEMS = 60


# As gsDesign's sfLDOF, ldbounds and the program of Reboussin and others give them: 2.5 % in each direction.
PUBLISHED = [
    (2, (2.9626, 1.9686)),
    (3, (3.7103, 2.5114, 1.9930)),
    (4, (4.3326, 2.9631, 2.3590, 2.0141)),
    (5, (4.8769, 3.3569, 2.6803, 2.2898, 2.0310)),
]


@pytest.mark.parametrize(("looks", "limits"), PUBLISHED)
def test_limits_are_the_published_ones(looks, limits):
    fractions = tuple(look / looks for look in range(1, looks + 1))
    assert sequential.limits(fractions) == pytest.approx(limits, abs=1.5e-4)


def test_limits_of_one_direction_of_the_published_package():
    """SeqBounds.jl's example, 5 % in one direction at four looks; in two it is 10 %."""
    found = sequential.limits((0.25, 0.5, 0.75, 1.0), level=0.1)
    assert found == pytest.approx((3.74955, 2.53993, 2.01604, 1.72014), abs=2e-3)


@pytest.mark.parametrize("fractions", [(0.3, 1.0), (0.1, 0.55, 1.0), (0.2, 0.4, 0.6, 0.8, 1.0)])
def test_limits_spend_the_level_whatever_the_looks(fractions):
    """By the multivariate normal distribution, which is integrated in another way."""
    found, times = np.array(sequential.limits(fractions)), np.array(fractions)
    covariance = np.sqrt(np.minimum.outer(times, times) / np.maximum.outer(times, times))
    for look in range(2, len(fractions) + 1):
        within = multivariate_normal(cov=covariance[:look, :look], abseps=1e-7, releps=1e-7, maxpts=10**6)
        inside = within.cdf(found[:look], lower_limit=-found[:look])
        assert 1 - inside == pytest.approx(sequential.spent(fractions[look - 1]), abs=2e-5)
    assert sequential.spent(1.0) == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("problems", "looks"),
    [(1319, (132, 264, 396, 528, 660, 792, 924, 1056, 1188, 1319)), (10, tuple(range(1, 11))), (4, (1, 2, 3, 4)),
     (1, (1,)), (15, (2, 3, 5, 6, 8, 9, 11, 12, 14, 15))],
)  # fmt: skip
def test_looks_are_at_every_tenth(problems, looks):
    assert sequential.looks_at(problems) == looks
    assert len(sequential.levels(problems)) == len(looks)


def stopped_at(look: int, problems: int = 1319) -> StoppedEarly:
    ends = sequential.looks_at(problems)
    return StoppedEarly("accuracy_flexible", look, len(ends), ends[look - 1], problems, sequential.levels(problems))


@pytest.mark.parametrize("look", [1, 2, 4, 7, 10])
def test_a_corrected_p_value_is_below_5_percent_where_the_limit_is_crossed(look):
    stopped = stopped_at(look)
    assert sequential.corrected(stopped.level, stopped) == pytest.approx(0.05, abs=1e-6)
    assert (
        sequential.corrected(stopped.level * 0.9, stopped) < 0.05 < sequential.corrected(stopped.level * 1.1, stopped)
    )
    assert sequential.corrected(1.0, stopped) == 1.0
    assert 0 < sequential.corrected(0.0, stopped) < 0.001


def test_one_look_alone_is_the_ordinary_test():
    stopped = stopped_at(1, problems=1)
    assert stopped.level == pytest.approx(0.05)
    assert sequential.corrected(0.03, stopped) == pytest.approx(0.03, rel=1e-6)


def test_an_interval_at_a_lower_level_is_wider():
    deltas = np.array([1.0] * 9 + [-1.0] * 2 + [0.0] * 30)
    for bounded in (True, False):
        ordinary, wide = stats.paired_interval(deltas, bounded), stats.paired_interval(deltas, bounded, 0.001)
        assert wide[0] < ordinary[0] < ordinary[1] < wide[1]
    assert stats.unchanged_bound(20, 0.01) > stats.unchanged_bound(20)


def test_the_simulation_decides_as_the_program_does():
    gained, lost = np.array([[0, 5, 12], [3, 3, 40]]), np.array([[0, 5, 1], [0, 9, 22]])
    expected = [
        [stats.mcnemar_exact(*pair) for pair in zip(*row, strict=True)] for row in zip(gained, lost, strict=True)
    ]
    assert early.p_values(gained, lost) == pytest.approx(np.array(expected))
    for problems, before, after in ((100, 0.4, 0.4), (300, 0.4, 0.5)):
        found = early.simulate(problems, before, after, simulations=400)
        assert found.verdicts <= 0.05 + 2 * (0.05 * 0.95 / 400) ** 0.5 if before == after else found.verdicts > 0.75
        assert found.verdicts >= found.fixed - 0.03
        assert found.held >= 0.93


def test_expected_problems_are_those_of_the_simulation():
    found = early.simulate(300, 0.4, 0.5, simulations=400)
    # With such chances 20 % of the answers become right and 10 % wrong.
    assert sequential.expected_problems(300, 0.1, 0.3) == pytest.approx(found.asked, rel=0.06)


def test_the_stored_table_is_within_its_bounds():
    text = early.PAGE.read_text(encoding="utf-8")
    sizes = re.findall(r"^\| [\d,]+ \| \d+% \| ([\d.]+) % \| [\d.]+ % \| [\d,]+ \| ([\d.]+) %", text, re.MULTILINE)
    assert len(sizes) == len(early.SIZES) * len(early.UNCHANGED)
    assert all(float(false) <= 5 and float(held) >= 95 for false, held in sizes)
    gains = re.findall(r"\+\d+ \| ([\d.]+) % \| ([\d.]+) % \| [\d,]+ \| ([\d.]+) %", text)
    assert len(gains) == len(early.GAINS)
    for found, fixed, held in gains:
        assert float(found) >= float(fixed) - (2 if float(fixed) >= 80 else 2.2)
        assert float(held) >= 95


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
    score_side(run, "after", quiet=True)
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
    assert exit_code_of(lambda: app(arguments, standalone_mode=False)) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])["stop early"]
    assert said["looks"].startswith("10, after 132, 264, ")
    assert said["at most"] == "1,319 replies with the adapter"
    assert said["for +10 points"].startswith("about 500 problems on average (30 % of the answers changing")
