import base64
import json

import numpy as np
import pandas
import pytest
from conftest import configuration

import harness
from harness.errors import UserError
from harness.evaluation.score_side import score_side
from harness.statistics.compare import compare
from harness.storage.journal import Journal
from harness.storage.run_folder import Run
from harness.types import Completion

REPLY = "<start_working_out>Two and two make four.<end_working_out>\n<SOLUTION>{}</SOLUTION>"
BEFORE = ["no number", "It is 1.", "It is 2.", "odd \ud800 text"]
AFTER = [REPLY.format(0), REPLY.format(1), REPLY.format(7), "cut off"]
HOSTILE = "<script>alert(1)</script>"
PNG = b"\x89PNG stands for a plot"


def store(run: Run, side: str, texts: list[str], prefix: str = "") -> None:
    """A finished side: one reply a problem, the last problem without a true answer."""
    with run.record.stage(side) as provenance:
        provenance["equality"] = "number"
    last = len(texts) - 1
    with Journal(run.path / side / "completions.jsonl") as journal:
        journal.append(
            [
                Completion(
                    problem_id=f"p-{n}",
                    index=0,
                    question=f"What is {n}?",
                    answer=None if n == last else str(n),
                    text=text,
                    n_tokens=len(text.split()),
                    finish_reason="length" if text == "cut off" else "stop",
                    prompt_sha="sha",
                    seed=0,
                    prefix=prefix,
                    position=n,
                )
                for n, text in enumerate(texts)
            ]
        )
    score_side(run, side, run.completions(side), quiet=True)


@pytest.fixture
def run(tmp_path) -> Run:
    """A run of two sides, compared, without a report."""
    run = Run.create(tmp_path / "run", configuration(), "harness run")
    store(run, "before", BEFORE, prefix="So: ")
    store(run, "after", AFTER)
    run.write_comparison(compare(*run.evaluations()))
    return run


def test_a_row_a_reply_of_both_sides(run):
    replies = harness.load_run(str(run.path)).replies
    assert list(replies.columns) == [
        "side", "problem_id", "index", "kind", "question", "answer", "reply", "n_tokens", "finish_reason",
    ]  # fmt: skip
    assert list(replies["side"]) == ["before"] * 4 + ["after"] * 4
    assert list(replies["problem_id"]) == ["p-0", "p-1", "p-2", "p-3"] * 2
    assert list(replies["reply"][:4]) == ["So: no number", "So: It is 1.", "So: It is 2.", "So: odd ? text"]
    assert list(replies["answer"].isna()) == [False, False, False, True] * 2
    assert replies["kind"].isna().all()
    assert list(replies["finish_reason"]) == ["stop"] * 7 + ["length"]
    assert replies["n_tokens"].sum() == sum(len(text.split()) for text in BEFORE + AFTER)


def test_scores_stand_in_the_order_of_the_replies(run):
    loaded = harness.load_run(run.path)
    scores, places = loaded.scores, ["side", "problem_id", "index"]
    pandas.testing.assert_frame_equal(scores[places], loaded.replies[places])
    assert list(scores.columns[3:5]) == ["extracted", "language"]
    assert (scores.dtypes.iloc[5:] == "float64").all()
    np.testing.assert_equal(scores["accuracy_strict"].tolist(), [0, 0, 0, np.nan, 1, 1, 0, np.nan])
    np.testing.assert_equal(scores["accuracy_flexible"].tolist(), [0, 1, 1, np.nan, 1, 1, 0, np.nan])
    assert scores["extracted"].isna().tolist() == [True, False, False, True, False, False, False, True]
    assert "reward/check_answer" in scores


def test_metrics_are_those_of_the_files(run):
    metrics = harness.load_run(run.path).metrics
    assert metrics.index.names == ["side", "metric"]
    assert list(metrics.columns) == ["mean", "low", "high", "n", "unscored"]
    for side in ("before", "after"):
        stored = json.loads((run.path / side / "metrics.json").read_text())
        assert metrics.loc[side].to_dict("index") == stored
    assert metrics.loc[("after", "accuracy_strict"), "n"] == 3


def test_the_comparison_is_that_of_the_file(run):
    loaded = harness.load_run(run.path)
    stored = json.loads((run.path / "comparison.json").read_text())
    assert json.loads(json.dumps(loaded.comparison.as_dict())) == stored
    differences = loaded.differences
    assert list(differences.index) == list(stored["metrics"])
    assert list(differences.columns) == list(stored["metrics"]["tokens"])
    row = differences.loc["accuracy_strict"]
    assert (row["delta"], row["n_pairs"], row["verdict"]) == (pytest.approx(2 / 3), 3, "no evidence either way")
    assert (loaded.settings, loaded.path) == (run.record.configuration, run.path)


def test_a_metric_that_nobody_is_scored_on_is_missing_not_an_error(tmp_path):
    run = Run.create(tmp_path / "run", configuration(), "harness run")
    for side in ("before", "after"):
        store(run, side, ["It is 1."])
    loaded = harness.load_run(run.path)
    assert loaded.metrics.loc[("before", "accuracy_strict"), ["mean", "low", "high"]].isna().all()
    assert loaded.metrics["mean"].dtype == loaded.differences["delta"].dtype == "float64"
    assert "accuracy_strict: before unknown, after unknown" in repr(loaded)
    assert "not compared" in loaded._repr_html_()


def test_what_a_notebook_shows(run):
    loaded = harness.load_run(run.path)
    assert repr(loaded).splitlines()[0] == str(run.path)
    assert "accuracy_strict: before 0.0%, after 66.7%, difference +66.7 pp" in repr(loaded)
    assert repr(loaded).endswith("verdict no evidence either way")
    page = loaded._repr_html_()
    assert page.count("<tr>") == 1 + len(loaded.comparison.metrics)
    assert "<td>66.7%</td><td>+66.7 pp</td>" in page
    assert "before: 1 replies could not be scored and are left out" in page
    assert "<img" not in page


def test_the_plot_of_the_report_comes_along(run):
    plots = run.report.parent / "plots"
    plots.mkdir(parents=True)
    for name, content in (("metrics", PNG), ("differences", PNG[::-1])):
        (plots / f"{name}.png").write_bytes(content)
        page = harness.load_run(run.path)._repr_html_()
        assert page.count('<img alt="') == 1
        assert f'src="data:image/png;base64,{base64.b64encode(content).decode()}"' in page


def test_the_page_is_shown_inside_the_notebook(run):
    with pytest.raises(UserError, match=r"has no report: run `harness report"):
        _ = harness.load_run(run.path).page
    run.report.parent.mkdir(parents=True)
    run.report.write_text("<html>'a' & \"b\"</html>", encoding="utf-8")
    shown = harness.load_run(run.path).page._repr_html_()
    assert 'srcdoc="&lt;html&gt;&#x27;a&#x27; &amp; &quot;b&quot;&lt;/html&gt;"' in shown
    assert "height: 800px" in shown


def test_every_text_is_escaped(run):
    path = run.path.rename(run.path.with_name("<img src=x onerror=alert(1)>"))
    for file in (path / side / name for side in ("before", "after") for name in ("scores.jsonl", "metrics.json")):
        file.write_text(file.read_text().replace("check_answer", HOSTILE))
        Run(path).hashes.add(file)
    loaded = harness.load_run(path)
    assert f"reward/{HOSTILE}" in loaded.differences.index
    page = loaded._repr_html_()
    assert "<script" not in page
    assert "<img" not in page
    assert "reward/&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_one_side_alone(tmp_path):
    run = Run.create(tmp_path / "run", configuration(), "harness eval")
    store(run, "before", AFTER)
    with pytest.raises(RuntimeError), run.record.stage("after"):
        raise RuntimeError
    loaded = harness.load_run(run.path)
    assert set(loaded.replies["side"]) == {"before"}
    assert loaded.comparison is None
    assert loaded.differences.empty
    assert "verdict" in loaded.differences
    assert "accuracy_strict: before 66.7%, 95 % interval 20.8% … 93.9%" in repr(loaded)
    assert "difference" not in loaded._repr_html_()


def test_pass_at_k_of_one_side_alone_is_not_compared(run):
    """Where one side has no whole problem, its pass@k is missing."""
    file = run.path / "before" / "metrics.json"
    metrics = json.loads(file.read_text())
    file.write_text(json.dumps(metrics | {"pass@2": metrics["tokens"]}))
    run.hashes.add(file)
    assert "<td></td><td>unknown</td><td></td><td>not compared</td>" in harness.load_run(run.path)._repr_html_()


def test_no_run_no_finished_side_and_lost_scores_are_refused(run, tmp_path):
    with pytest.raises(UserError, match="not a run folder"):
        harness.load_run(tmp_path)
    Run.create(tmp_path / "new", configuration(), "harness run")
    with pytest.raises(UserError, match="no finished evaluation"):
        harness.load_run(tmp_path / "new")
    (run.path / "after" / "scores.jsonl").unlink()
    with pytest.raises(UserError, match=r"scores.jsonl: is gone: run `harness score .*`"):
        harness.load_run(run.path)
