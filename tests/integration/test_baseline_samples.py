"""K replies per problem of the base model are compared with those of the adapter by the means of each problem."""

import json
import re
import sys
from contextlib import redirect_stdout
from dataclasses import replace

import numpy as np
import pytest
from conftest import configuration, evaluate_until, write_jsonl
from planning import plan

import harness
from baselines.statistics import baseline_samples as simulation
from harness.cli import show
from harness.cli.stage_functions import run_stage
from harness.errors import UserError
from harness.evaluation import evaluate
from harness.plan import seconds
from harness.statistics import gate, stats
from harness.statistics.compare import compare, compare_each, metrics_of
from harness.statistics.gain import gain
from harness.storage.run_folder import Run
from harness.types import Completion, Evaluation, Score
from reports import explorer

LAYOUT = "<start_working_out>x<end_working_out>\n<SOLUTION>{}</SOLUTION>"
# Right in the layout, right out of it, wrong.
KINDS = {"L": LAYOUT.format("7"), "F": "It is 7.", "W": LAYOUT.format("99")}
BEFORE, AFTER = ("LLFW", "FFFF", "LWWW", "LLLL", "WWWW"), "LLWFL"
STRICT = np.array([1 - 0.5, 1 - 0, 0 - 0.25, 0 - 1, 1 - 0])
FLEXIBLE = np.array([1 - 0.75, 1 - 1, 0 - 0.25, 1 - 1, 1 - 0])
SAID = (
    "The baseline is the mean of 4 replies per problem, every other side one reply; the difference of a problem is "
    "between the two."
)


def question(number: int) -> str:
    return f"Problem {number}: what is 3 + 4?"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Options that name five problems with the replies of both sides."""
    folder = tmp_path_factory.mktemp("files")
    problems = [{"question": question(number), "answer": "7"} for number in range(len(BEFORE))]
    replies = [{"question": question(n), "text": KINDS[kind]} for n, kinds in enumerate(BEFORE) for kind in kinds]
    replies += [{"question": question(n), "text": KINDS[kind], "adapter": True} for n, kind in enumerate(AFTER)]
    data = write_jsonl(folder / "problems.jsonl", problems)
    return {
        "dataset": str(data), "engine": "scripted",
        "engine_args": {"replies": str(write_jsonl(folder / "replies.jsonl", replies))},
    }  # fmt: skip


@pytest.fixture(scope="module")
def run(files, tmp_path_factory):
    """A whole run, K = 4 and one reply of the adapter, beside what it `said`."""
    folder = tmp_path_factory.mktemp("job")
    (folder / "adapter").mkdir()
    (folder / "adapter" / "adapter_model.safetensors").write_bytes(b"of no model that is loaded")
    config = configuration(**files, baseline_samples=4, adapter=str(folder / "adapter"))
    run = Run.create(folder / "run", config, "harness run")
    run_stage(run, "before+after", quiet=True)
    run_stage(run, "report", quiet=True)
    with (run.path / "said").open("w") as said, redirect_stdout(said):
        show.results(run, as_json=False)
    return run


def test_the_base_is_asked_k_times_and_the_adapter_once(run):
    before, after = run.completions("before"), run.completions("after")
    assert [each.index for each in before] == [0, 1, 2, 3] * 5
    assert [each.index for each in after] == [0] * 5
    assert [each.question for each in after] == [each.question for each in before[::4]]


@pytest.mark.parametrize(("name", "deltas"), [("accuracy_strict", STRICT), ("accuracy_flexible", FLEXIBLE)])
def test_a_problem_counts_by_after_minus_the_mean_of_k(run, name, deltas):
    found = run.comparison()["metrics"][name]
    assert (found["n_pairs"], found["problems"]) == (5, 5)
    assert found["delta"] == pytest.approx(deltas.mean())
    assert (found["low"], found["high"]) == pytest.approx(stats.paired_interval(deltas, bounded=True))
    assert found["test"] == "sign-flip permutation"
    assert found["p_value"] == pytest.approx(stats.sign_flip(deltas))


def test_the_gain_is_of_all_pairs_of_a_problem_and_flips_are_of_equal_indices(run):
    before, after = run.evaluations()
    split = gain(before, after)
    # F to L and W to L of the first problem are a quarter each, and so is L to W of the third.
    assert (split.gained_by_layout, split.lost_by_layout) == (1.25, 1)
    assert (split.gained_by_answer, split.lost_by_answer) == (1.25, 0.25)
    comparison = run.comparison()
    assert comparison["gain"] == pytest.approx({"n": 5, "layout": 0.05, "answers": 0.2, "delta": STRICT.mean()})
    assert comparison["flips"] == {"gained": 2, "lost": 2, "both": 1, "neither": 0}


def test_every_output_says_it_and_none_warns(run, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    assert run.comparison()["warnings"] == []
    assert command("compare", str(run.path), "--output", "page")[0] == 0
    for text in (
        (run.path / "said").read_text(),
        (run.path / "report" / "report.md").read_text(),
        (run.path / "report" / "index.html").read_text(),
        harness.load_run(run.path)._repr_html_(),
        (tmp_path / "page" / "report.md").read_text(),
    ):
        assert SAID in text
        assert "different numbers of replies" not in text
    for page in (run.path / "report" / "index.html", tmp_path / "page" / "index.html"):
        assert "counted over the replies that have the same index on both sides" in page.read_text()
    assert "How much of the gain is format" in (tmp_path / "page" / "report.md").read_text()


def test_pass_at_k_of_the_base_alone_is_shown_and_not_compared(run):
    metrics = run.metrics("before")
    assert {"pass@2", "maj@4"} <= metrics.keys()
    assert not {"pass@2", "maj@4"} & {*run.metrics("after"), *run.comparison()["metrics"]}
    assert re.search(r"^pass@2 +70\.0% +unknown +not compared$", (run.path / "said").read_text(), re.MULTILINE)


def test_a_mean_of_k_keeps_its_interval_in_the_report(run):
    metric = run.metrics("before")["accuracy_strict"]
    page = (run.path / "report" / "index.html").read_text()
    assert f"<td>35.0%<small>{100 * metric.low:.1f}% … {100 * metric.high:.1f}%</small></td>" in page


def test_replies_without_a_partner_are_on_the_page_as_that(run):
    rows = explorer.unpack(explorer.pack(run.evaluations()))["rows"]
    assert [row[3] for row in rows].count("unpaired") == 15
    assert all(row[4][1] is None for row in rows if row[3] == "unpaired")


def test_a_gate_counts_all_replies_of_the_baseline(run, tmp_path, command):
    before, after = run.evaluations()
    verdict = gate.check(after, before, {})
    (strict,) = (each for each in verdict.metrics if each.name == "accuracy_strict")
    assert (strict.difference.delta, verdict.problems) == (pytest.approx(STRICT.mean()), 5)
    assert verdict.notes == (SAID,)
    file = tmp_path / "base.json"
    assert command("gate", f"{run.path}/before", "--write-baseline", file)[0] == 0
    assert command("gate", run.path, "--baseline", file, "--tolerance", "accuracy_strict=0.9")[0] == 3


def test_of_unlike_runs_it_is_a_warning(run):
    before, after = run.evaluations()
    other = replace(after, settings=after.settings | {"baseline_samples": None})
    (found,) = compare_each(before, [other])
    assert found.metrics["accuracy_strict"].delta == pytest.approx(STRICT.mean())
    assert any("different numbers of replies to a problem" in each for each in found.warnings)


def side(name: str, replies: list[list[float | None]], prompts: str = "p") -> Evaluation:
    """A side whose replies to a problem are right (1), wrong (0) or unscored (None)."""
    places = [(f"q{n}", index, value) for n, values in enumerate(replies) for index, value in enumerate(values)]
    scores = tuple(
        Score(problem, index, "1", "en", dict.fromkeys(("accuracy_strict", "accuracy_flexible"), value), {})
        for problem, index, value in places
    )
    completions = tuple(
        Completion(problem, index, "?", "1", "x", 1, "stop", f"{prompts}{problem if prompts else ''}", 0)
        for problem, index, _ in places
    )
    settings = {"dataset": "d", "samples": len(replies[0])}
    return Evaluation(name, completions, scores, metrics_of(scores), {}, settings)


def test_ungraded_replies_are_left_out_of_a_problems_mean():
    before, after = side("before", [[1, None], [None, None], [0, 1]]), side("after", [[0], [1], [1]])
    found = compare(before, after)
    strict = found.metrics["accuracy_strict"]
    assert (strict.n_pairs, strict.one_sided, strict.delta) == (2, 1, pytest.approx((0 - 1 + 1 - 0.5) / 2))
    assert (found.gain["n"], found.gain["delta"]) == (2, pytest.approx(strict.delta))


def test_another_prompt_is_no_partner_for_several_replies_either():
    found = compare(side("before", [[1, 0]]), side("after", [[1]], prompts="another"))
    assert found.metrics["accuracy_strict"].verdict == "not compared"
    assert found.gain is None


def test_pass_at_k_that_both_sides_have_is_compared():
    found = compare(side("before", [[1, 0, 0, 0]] * 3), side("after", [[1, 0]] * 3)).metrics
    assert found["pass@2"].delta == pytest.approx(1 - 0.5)
    assert "pass@4" not in found


def test_a_gate_counts_a_lost_reply_at_its_worst_beside_several_of_the_baseline():
    then, now = side("then", [[1, 1, 1, 1]] * 100), side("now", [[1]] * 100)
    whole = gate.check(now, then, {"accuracy_strict": 0.05})
    assert whole.metrics[0].result == "holds"
    assert "different numbers of replies" in whole.notes[0]
    lost = replace(now, completions=now.completions[1:], scores=now.scores[1:])
    (strict, _) = gate.check(lost, then, {"accuracy_strict": 0.05}).metrics
    assert (strict.result, strict.reason[:18]) == ("not shown", "1 replies are lost")
    partly = side("now", [[None, 1]] * 3 + [[1, 1]] * 97)
    (strict, _) = gate.check(partly, then, {"accuracy_strict": 0.05}).metrics
    assert (strict.result, strict.reason[:21]) == ("not shown", "some replies are lost")


def test_a_baseline_of_k_is_an_entry_of_its_own_and_serves_every_later_run(tmp_path):
    def cached(name: str, **options) -> bool:
        run = Run.create(tmp_path / name, configuration("max_tokens=8", limit=2, **options), "harness eval")
        evaluate.evaluate(run, ["before"], None, True, None)
        return run.record.provenance["before"]["cached"]

    assert not cached("one", baseline_samples=2)
    assert cached("more of the adapter", baseline_samples=2, samples=3)
    assert cached("as many of both", samples=2)
    assert not cached("more of the base", baseline_samples=3)
    assert not cached("one of both")


def test_a_run_that_was_stopped_goes_on(files, tmp_path):
    config = configuration(**files, baseline_samples=4)
    whole, run = (Run.create(tmp_path / name, config, "harness eval") for name in ("whole", "stopped"))
    evaluate.evaluate(whole, ["before"], None, True, None)
    evaluate_until(run, KINDS["F"])
    assert 0 < len(run.completions("before")) < 20
    evaluate.evaluate(run, ["before"], None, True, None)
    assert run.completions("before") == whole.completions("before")


def test_only_runs_that_use_it_are_others(files, tmp_path):
    usual, four = configuration(**files), configuration(**files, baseline_samples=4)
    assert "baseline_samples" not in usual.identity
    assert configuration(**files, baseline_samples=1).sha == usual.sha
    assert four.sha != usual.sha
    Run.create(tmp_path / "four", four, "harness run")
    Run.create(tmp_path / "usual", usual, "harness run")
    with pytest.raises(UserError, match=r"another configuration \(baseline_samples: 4 there, None now\)"):
        Run.create(tmp_path / "four", usual, "harness run")
    with pytest.raises(UserError, match=r"another configuration \(baseline_samples: None there, 4 now\)"):
        Run.create(tmp_path / "usual", four, "harness run")
    record = json.loads((tmp_path / "usual" / "run.json").read_text())
    del record["configuration"]["baseline_samples"]
    (tmp_path / "usual" / "run.json").write_text(json.dumps(record))
    assert Run.create(tmp_path / "usual", usual, "harness run").config.samples_of(adapted=False) == 1


def test_a_plan_counts_each_sides_replies():
    one_side, a_reply = seconds.EMBEDDED_SIDE
    made = plan(configuration(limit=100, baseline_samples=4))
    assert made["replies a side"] == {"before": 400, "after": 100}
    assert made["most tokens a side"] == {"before": 51200, "after": 12800}
    assert made["seconds"]["before"] == pytest.approx(one_side + a_reply * 400)
    assert made["seconds"]["after"] == pytest.approx(one_side + a_reply * 100)
    together = plan(configuration(limit=100, baseline_samples=4, adapter="a"), ["before", "after", "report"])
    assert together["seconds"]["before"] == pytest.approx(one_side + a_reply * 500)
    assert plan(configuration(limit=100))["replies a side"] == 100


def test_a_line_a_reply_counts_to_the_last(files, tmp_path, capsys):
    run = Run.create(tmp_path / "run", configuration(**files, baseline_samples=2), "harness eval")
    evaluate.evaluate(run, ["before"], None, True, show.Replies(run, sys.stdout))
    assert capsys.readouterr().out.splitlines()[-2].startswith("10/10 ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", "--baseline-samples", "0"), "baseline_samples = 0: input should be greater than or equal to 1"),
        (("plan", "--set", "baseline_samples=many"), "baseline_samples = 'many': input should be a valid integer"),
        (("languages", "--baseline-samples", "2"), "baseline_samples: this command asks one reply per problem"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(command, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    code, error = command(*arguments)
    assert (code, error.count("\n"), said in error) == (2, 1, True), error


def test_more_replies_of_the_base_narrow_the_interval_and_keep_its_coverage():
    """A slice of what made baselines/statistics/baseline_samples.md."""
    width, power, coverage = simulation.simulated(100, (0.5, 0.1, 0.5, 0.0), simulations=100).T
    assert 0.77 < width[1] / width[0] < 0.88
    assert 0.73 < width[2] / width[0] < 0.84
    assert power[2] > power[0]
    assert coverage.min() >= 0.95 - 3 * (0.95 * 0.05 / 100) ** 0.5


def test_where_nothing_changes_different_numbers_of_replies_are_no_verdict():
    _, rejected, coverage = simulation.simulated(100, (0.9, 0.0, 0.5, 0.0), simulations=100).T
    assert rejected.max() <= 0.05 + 3 * (0.95 * 0.05 / 100) ** 0.5
    assert coverage.min() >= 0.95 - 3 * (0.95 * 0.05 / 100) ** 0.5


def test_the_page_of_the_whole_simulation():
    page = simulation.PAGE.read_text(encoding="utf-8")
    rows = re.findall(r"^\| (?:100|300) \| .+ \| ([^|]+) \| ([^|]+) \|$", page, re.MULTILINE)
    assert len(rows) == len(simulation.SIZES) * (len(simulation.GAINS) + len(simulation.NOTHING))
    coverages = [[float(each) for each in re.findall(r"([\d.]+)%", coverage)] for _, coverage in rows]
    assert min(map(min, coverages)) >= 93
    assert min(np.mean(coverages, axis=0)) >= 94
    rejected = [float(each) for row, _ in rows[-6:] for each in re.findall(r"([\d.]+)%", row)]
    assert len(rejected) == 18
    assert max(rejected) <= 6.5
