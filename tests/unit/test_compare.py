from dataclasses import replace

import pytest

from harness.errors import UserError
from harness.statistics import metric_rows, stats
from harness.statistics.compare import compare, compare_each, metrics_of, over_common_problems
from harness.statistics.metric_rows import takes_more
from harness.types import Completion, Difference, Evaluation, MetricValue, Score
from reports.rows import metric_row


def side(name: str, right: list[int | None], prompt="p", **more) -> Evaluation:
    """An evaluation whose replies are right (1), wrong (0) or unscored (None), one problem each."""
    completions = [Completion(f"q{n}", 0, "?", "1", "x", 2, "stop", prompt, 0) for n in range(len(right))]
    scores = []
    for n, value in enumerate(right):
        graded = None if value is None else float(value)
        values = {"accuracy_strict": graded, "truncated": 0.0, "tokens": 2.0 + n, **more}
        scores.append(Score(f"q{n}", 0, "1", "en", values, {}))
    return Evaluation(name, tuple(completions), tuple(scores), metrics_of(scores), {})


def test_12_of_20_against_8_of_20_is_no_evidence():
    """The tutorial's claim, with no problem solved before that is not solved after but four lost."""
    before, after = [1] * 8 + [0] * 12, [0] * 2 + [1] * 6 + [1] * 6 + [0] * 6
    comparison = compare(side("before", before), side("after", after))
    difference = comparison.metrics["accuracy_strict"]
    assert (difference.before, difference.after, difference.delta) == (0.4, 0.6, pytest.approx(0.2))
    assert comparison.flips == {"gained": 6, "lost": 2, "both": 6, "neither": 6}
    assert difference.verdict == "no evidence either way"
    assert difference.low < 0 < difference.high


def test_a_large_change_is_better_and_its_reverse_worse():
    poor, good = side("before", [0] * 30 + [1] * 10), side("after", [1] * 38 + [0] * 2)
    assert compare(poor, good).metrics["accuracy_strict"].verdict == "better"
    assert compare(good, poor).metrics["accuracy_strict"].verdict == "worse"
    assert compare(poor, good).metrics["accuracy_strict"].test == "exact McNemar"


def test_unscored_replies_are_left_out_and_counted():
    evaluation = side("before", [1, None, 0, 1])
    metric = evaluation.metrics["accuracy_strict"]
    assert (metric.mean, metric.n, metric.unscored) == (pytest.approx(2 / 3), 3, 1)
    comparison = compare(evaluation, side("after", [1, 1, 1, 1]))
    assert comparison.metrics["accuracy_strict"].n_pairs == 3
    assert any("could not be scored" in warning for warning in comparison.warnings)


def test_one_problem_gives_no_test_but_no_error_either():
    found = compare(side("before", [0]), side("after", [1])).metrics
    assert (found["accuracy_strict"].verdict, found["tokens"].verdict) == ("no evidence either way", "described")


def test_another_prompt_is_no_partner():
    comparison = compare(side("before", [1, 0]), side("after", [1, 0], prompt="other"))
    assert comparison.metrics["accuracy_strict"].verdict == "not compared"
    assert any("no partner to the same problem" in warning for warning in comparison.warnings)


def test_three_sides_are_compared_end_to_end_and_step_by_step():
    base, warmed, trained = (
        side("before", [0] * 40),
        side("sft", [1] * 30 + [0] * 10),
        side("after", [1] * 31 + [0] * 9),
    )
    comparison = compare(base, warmed, trained)
    first, second = comparison.others
    assert [(each["before"], each["after"]) for each in comparison.others] == [("before", "sft"), ("sft", "after")]
    assert comparison.metrics["accuracy_strict"].delta == pytest.approx(31 / 40)
    # The question is asked of the ends; the steps between are described and cost it nothing.
    assert first["metrics"]["accuracy_strict"].verdict == second["metrics"]["accuracy_strict"].verdict == "described"
    assert first["metrics"]["accuracy_strict"].low > 0
    assert comparison.metrics["accuracy_strict"] == compare(base, trained).metrics["accuracy_strict"]


def repeated(name: str, shares: list[float], tags: float = 1.0) -> Evaluation:
    """An evaluation of four replies a problem, of which a share is right."""
    completions, scores = [], []
    for n, share in enumerate(shares):
        for index in range(4):
            values = {"accuracy_strict": float(index < 4 * share), "accuracy_flexible": float(index < 4 * share),
                      "format_tags": tags, "truncated": 0.0, "tokens": 7.0}  # fmt: skip
            completions.append(Completion(f"q{n}", index, "?", "1", "x", 7, "stop", "p", 0))
            scores.append(Score(f"q{n}", index, str(index) if index >= 4 * share else "1", "en", values, {}))
    return Evaluation(name, tuple(completions), tuple(scores), metrics_of(scores), {})


def test_no_spread_is_no_certainty():
    side_of_two = repeated("before", [0.5, 1.0])
    found = compare(side_of_two, repeated("after", [0.5, 1.0])).metrics
    assert found["accuracy_strict"].low == -found["accuracy_strict"].high < -0.3
    assert found["format_tags"].low < -0.3
    assert (found["tokens"].low, found["tokens"].high) == (None, None)
    assert side_of_two.metrics["format_tags"].low < 0.5


def test_several_replies_make_pass_at_k_and_a_majority():
    metrics = repeated("before", [0.5, 0.0, 1.0]).metrics
    assert metrics["pass@4"].mean == pytest.approx(2 / 3)
    assert metrics["pass@2"].mean == pytest.approx((1 - 1 / 6 + 0 + 1) / 3)
    assert metrics["maj@4"].mean == pytest.approx(2 / 3)
    found = compare(repeated("before", [0.5, 0.0] * 20), repeated("after", [0.5, 0.5] * 20)).metrics
    assert (found["pass@4"].n_pairs, found["pass@4"].delta, found["pass@4"].verdict) == (40, 0.5, "described")
    assert found["pass@4"].low > 0


@pytest.mark.parametrize(
    ("language", "tested"), [(None, 0), ("en", 0), ("id", 1)], ids=["none", "the usual one", "another"]
)
def test_only_what_the_run_is_about_gets_a_verdict(language, tested):
    """Four rewards and a language that never vary, and one reward that does, move no verdict's p."""
    before, after = [1] * 6 + [0] * 21 + [1] * 273, [0] * 6 + [1] * 21 + [1] * 273
    more = {f"reward/{n}": 0.0 for n in range(4)} | {"language_ratio": 1.0}
    alone = compare(side("before", before), side("after", after)).metrics["accuracy_strict"]
    old, new = (
        replace(side(name, right, **more), settings={"language": language})
        for name, right in (("before", before), ("after", after))
    )
    found = compare(old, new).metrics
    assert (found["accuracy_strict"], alone.verdict) == (alone, "better")
    assert alone.p_adjusted == alone.p_value
    verdicts = {"tokens": found["tokens"].verdict, "reward/0": found["reward/0"].verdict}
    assert verdicts == {"tokens": "described", "reward/0": "described"}
    assert found["language_ratio"].verdict == ("no evidence either way" if tested else "described")
    assert (found["reward/0"].p_value, found["reward/0"].p_adjusted) == (1.0, None)


def test_what_a_difference_takes_counts_the_primary_metrics_that_vary():
    before, after = [1] * 6 + [0] * 20 + [1] * 274, [0] * 6 + [1] * 20 + [1] * 274
    alone = compare(side("before", before), side("after", after)).metrics["accuracy_strict"]

    def both(name: str, right: list[int]) -> Evaluation:
        made = side(name, right)
        scores = [replace(each, scores=each.scores | {"format_strict": each.scores["accuracy_strict"]})
                  for each in made.scores]  # fmt: skip
        return replace(made, scores=tuple(scores), metrics=metrics_of(scores))

    among = compare(both("before", before), both("after", after)).metrics["accuracy_strict"]
    assert among.p_adjusted == 2 * alone.p_adjusted
    assert among.needed > alone.needed > 0


def test_where_interval_and_test_disagree_the_test_decides():
    found = compare(side("before", [0] * 5 + [1] * 15), side("after", [1] * 20)).metrics["accuracy_strict"]
    assert found.low > 0
    assert found.p_value == pytest.approx(1 / 16)
    assert found.verdict == "no evidence either way"
    assert found.note == "the interval leaves 0 out, the test does not reject (p = 0.062): the verdict follows the test"


def test_one_reply_against_four_uses_all_of_them():
    """Ten problems of which the baseline has 20; each problem counts by the mean of its replies."""
    one, four = side("one", [1, 0] * 10), repeated("four", [0.5, 0.75] * 5)
    (found,) = compare_each(one, [four])
    difference = found.metrics["accuracy_strict"]
    assert (difference.n_pairs, difference.before, difference.after) == (10, 0.5, 0.625)
    assert difference.test == "sign-flip permutation"
    assert found.warnings == (
        "one and four have different numbers of replies to a problem: each problem counts by the mean of all its "
        "replies",
        "one: 10 of 20 replies have no partner to the same problem and are left out of the differences",
    )
    again = compare_each(four, [one])[0].metrics["accuracy_strict"]
    assert (again.delta, again.low, again.high) == pytest.approx((-difference.delta, -difference.high, -difference.low))


def test_standings_are_over_the_problems_that_all_have():
    whole, part = over_common_problems([side("whole", [1] * 5 + [0] * 95), side("part", [1, 0, 0, 0, 0])])
    assert (whole.metrics["accuracy_strict"].mean, whole.metrics["accuracy_strict"].n) == (1.0, 5)
    assert part.metrics["accuracy_strict"].mean == 0.2
    elsewhere = side("elsewhere", [1])
    moved = replace(elsewhere, completions=(replace(elsewhere.completions[0], problem_id="other"),))
    with pytest.raises(UserError, match="no problem is in all of whole, part, elsewhere: compare fewer"):
        over_common_problems([whole, part, moved])


def test_scores_of_one_side_alone_bound_the_difference_and_both_means_are_of_the_same_pairs():
    """30 of 60 before; after, the 30 that were right are not scored: of the rest none is right on either side."""
    before, after = side("before", [1] * 30 + [0] * 30), side("after", [None] * 30 + [0] * 20 + [1] * 10)
    difference = compare(before, after).metrics["accuracy_strict"]
    assert (difference.before, difference.n_pairs, difference.one_sided) == (0.0, 30, 30)
    assert (difference.lowest, difference.highest) == pytest.approx((10 / 60 - 0.5, 10 / 60))
    row = metric_row("accuracy_strict", (before, after), {"accuracy_strict": difference})
    assert row.sides == (("0.0%", "of 30 pairs"), ("33.3%", "of 30 pairs"))
    assert row.note.startswith(
        "30 replies are scored on one side only and left out; however they were scored, the difference would lie "
        "between -33.3 and +16.7 pp."
    )


def test_what_it_takes_is_counted_in_problems():
    """40 problems of four replies are 160 pairs, and 100 problems more than there are."""
    found = compare(repeated("before", [0.5] * 40), repeated("after", [0.5, 0.75, 0.5, 0.25, 0.75] * 8))
    difference = found.metrics["accuracy_strict"]
    assert (difference.problems, difference.n_pairs) == (40, 160)
    assert takes_more(replace(difference, needed=100))
    assert not takes_more(replace(difference, needed=40))


def test_pass_at_as_many_as_there_are_is_a_share():
    metric = repeated("before", [0.25] * 97 + [0.0] * 3).metrics["pass@4"]
    assert (metric.low, metric.high) == pytest.approx(stats.wilson(97, 100))


@pytest.mark.parametrize("value", [None, MetricValue(None, None, None, 0, 3)])
def test_a_row_of_a_metric_that_one_side_lacks_is_shown(value):
    """As an edited run folder may have it; found by fuzzing."""
    sides = [{"format_strict": MetricValue(0.5, 0.4, 0.6, 20, 0)}, {"format_strict": value} if value else {}]
    known = Difference(0.5, 0.7, 0.2, 0.1, 0.3, 0.01, 0.01, "exact McNemar", 10, "better")
    assert metric_rows.metric_row("format_strict", sides, [{}], known).name == "format_strict"
