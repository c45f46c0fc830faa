"""Tasks of lm-eval before and after, by lm-eval's own backend on the embedded model, with local data files."""

import json

import numpy as np
import pytest
from conftest import configuration, needs_lm_eval, write_jsonl

from harness.errors import UserError
from harness.lmeval import extra_tasks, pairing
from harness.storage.files import read_journal, read_json
from harness.storage.run_folder import Run
from reports import run_view

pytestmark = needs_lm_eval

CHOICE = """\
task: small_choice
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: choices
doc_to_target: 0
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
metadata: {{version: 3.0}}
"""
WORDS = """\
task: small_words
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{choices[0]}}}}"
generation_kwargs: {{until: [], max_gen_toks: 6}}
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
filter_list:
  - {{name: last, filter: [{{function: regex, group_select: -1, regex_pattern: "([0-9]+)"}}, {{function: take_first}}]}}
  - {{name: whole, filter: [{{function: take_first}}]}}
"""


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    """A folder with two tasks of a user's own, of six documents."""
    folder = tmp_path_factory.mktemp("tasks")
    rows = [
        {"question": f"Ani has {n} eggs and buys {n + 1} more. How many?", "choices": [str(2 * n + 1), str(n), "no"]}
        for n in range(2, 8)
    ]
    data = write_jsonl(folder / "rows.jsonl", rows)
    for name, text in (("choice", CHOICE), ("words", WORDS)):
        (folder / f"{name}.yaml").write_text(text.format(data=data))
    return folder


@pytest.fixture(scope="module")
def run(tasks, adapter, tmp_path_factory):
    """A finished run, base against base + adapter, with both tasks."""
    import os
    import subprocess
    import sys

    folder = tmp_path_factory.mktemp("also")
    command = ["run", "--adapter", adapter, "--limit", "4", "--also", "small_choice,small_words", "--output", "r"]
    done = subprocess.run(
        [f"{sys.prefix}/bin/harness", *command, "--set", f"also_tasks={tasks}"],
        cwd=folder, capture_output=True, text=True, check=False, env=os.environ,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return Run.open(folder / "r")


def test_both_sides_are_measured_and_paired(run):
    before, after = (read_journal(run.path / "also" / f"{side}.jsonl") for side in ("before", "after"))
    assert [(row["task"], row["doc_id"]) for row in before] == [(row["task"], row["doc_id"]) for row in after]
    assert {row["filter"] for row in before if row["task"] == "small_words"} == {"last", "whole"}
    stored = read_json(run.path / "also/comparison.json")
    assert stored["left_out"] == 0
    for task, title, filter, metric in (
        ("small_choice", "acc", "none", "acc"),
        ("small_words", "exact_match, last", "last", "exact_match"),
        ("small_words", "exact_match, whole", "whole", "exact_match"),
    ):
        values = [
            [row["scores"][metric] for row in side if (row["task"], row["filter"]) == (task, filter)]
            for side in (before, after)
        ]
        found = stored["tasks"][task][title]
        assert (found["before"], found["after"]) == pytest.approx(tuple(map(np.mean, values)))
        assert (found["n_pairs"], found["test"]) == (6, "exact McNemar")


def test_the_adapter_reaches_lm_eval(run):
    """With it some greedy continuation differs: both sides were not the base."""
    replies = [
        [row["response"] for row in read_journal(run.path / "also" / f"{side}.jsonl") if row["filter"] == "whole"]
        for side in ("before", "after")
    ]
    assert replies[0] != replies[1]


def test_the_report_shows_them(run):
    page = (run.path / "report/index.html").read_text()
    assert "Did anything else change?" in page
    assert page.count("small_words") >= 2
    assert "| small\\_choice: acc |" in (run.path / "report/report.md").read_text()
    assert run.record.provenance["also-before"]["tasks"]["small_choice"] == 3.0


def test_what_a_metric_says_is_stored_once_and_shown_so(run):
    stored = read_json(run.path / "also/comparison.json")["measures"]
    share = {"about": "", "share": True, "percent": True, "better": 1}
    assert stored == {
        "small_choice": {"acc": share},
        "small_words": {"exact_match, last": share, "exact_match, whole": share},
    }
    assert read_json(run.path / "also/before.json")["measures"] == stored


def test_a_metric_is_in_percent_where_both_sides_are(run):
    file = run.path / "also/after.json"
    kept = file.read_text()
    side = json.loads(kept)
    side["measures"]["small_choice"]["acc"] |= {"share": False, "percent": False}
    file.write_text(json.dumps(side))
    run.hashes.add(file)
    extra_tasks.compare_tasks(run)
    rows = run_view.build(run, run.evaluations()).also.tasks
    assert not [cell for cell in (*rows["small_choice"][0].sides[0], rows["small_choice"][0].delta) if "%" in cell]
    assert rows["small_words"][0].delta.endswith(" pp")
    stored = read_json(run.path / "also/comparison.json")["tasks"]
    assert stored["small_choice"]["acc"]["test"] == "sign-flip permutation"
    file.write_text(kept)
    run.hashes.add(file)
    extra_tasks.compare_tasks(run)


def test_a_document_that_is_not_the_same_has_no_partner(run):
    file = run.path / "also/after.jsonl"
    kept = file.read_text()
    rows = [json.loads(line) for line in kept.splitlines()]
    rows[0]["doc_hash"] = "another"
    write_jsonl(file, rows[:-1])
    run.hashes.add(file)
    extra_tasks.compare_tasks(run)
    stored = read_json(run.path / "also/comparison.json")
    assert stored["left_out"] == 2
    assert stored["tasks"]["small_choice"]["acc"]["n_pairs"] == 5
    file.write_text(kept)
    run.hashes.add(file)
    extra_tasks.compare_tasks(run)


def test_a_task_without_a_temperature_is_greedy(tasks):
    """lm-eval leaves the temperature open there, and vLLM's own default is 1."""
    config = configuration(f"also_tasks={tasks}").model_copy(update={"also": ("small_words", "small_choice")})
    words, choice = extra_tasks._loaded_tasks(config, extra_tasks._manager(config))
    assert words.get_config("generation_kwargs") == {
        "until": [],
        "max_gen_toks": 6,
        "temperature": 0.0,
        "do_sample": False,
    }
    assert choice.get_config("output_type") == "multiple_choice"


MISTAKES = [
    (("--also", "arc_eazy"), "unknown lm-eval task 'arc_eazy': did you mean 'arc_easy'?"),
    (("--also", "arc_easy", "--engine", "scripted", "--engine-arg", "replies=r.jsonl"), "--also needs the engine"),
    (("--also", "arc_easy", "--set", "also_tasks=nowhere"), "nowhere: no such folder"),
    (("--also", ""), "--also is empty"),
]


@pytest.mark.parametrize(("options", "message"), MISTAKES)
def test_mistakes_are_one_line(command, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    write_jsonl(tmp_path / "r.jsonl", [{"text": "1"}])
    code, said = command("run", *options)
    assert (code, said.count("\n")) == (2, 1), said
    assert message in said
    assert not (tmp_path / "runs").exists()


class Task:
    """A task as far as its aggregations go."""

    def __init__(self, **by):
        from lm_eval.api.registry import get_aggregation

        self.by = {metric: get_aggregation(each) if isinstance(each, str) else each for metric, each in by.items()}
        self.task_name = "mine"

    def aggregation(self):
        return self.by


# A metric, lm-eval's own aggregation of it, what two documents have before and after, what is compared and which way.
AGGREGATED = [
    ("acc", "mean", [0, 1], [1, 1], "acc", "better"),
    ("brier", "nanmean", [0.4, 0.2], [0.6, 0.5], "brier", "better"),
    ("perplexity", "perplexity", [-3.1, -2.8], [-2.5, -2.2], "log(perplexity)", "better"),
    ("word_perplexity", "weighted_perplexity", [(-31, 10), (-280, 100)], [(-25, 10), (-220, 100)],
     "log(word_perplexity)", "better"),
    ("bits_per_byte", "bits_per_byte", [(-31, 10), (-280, 100)], [(-35, 10), (-320, 100)], "bits_per_byte", "worse"),
]  # fmt: skip


@pytest.mark.parametrize(("metric", "aggregation", "before", "after", "title", "way"), AGGREGATED)
def test_what_is_compared_is_what_the_aggregation_means(metric, aggregation, before, after, title, way):
    """The means of the shares are lm-eval's own figures, or their logarithms; which is better, as lm-eval has it."""
    task = Task(**{metric: aggregation})
    by, figures = pairing.aggregations(task), []
    assert by == {metric: aggregation}
    for values in (before, after):
        rows = [pairing.shares({"metrics": [metric], metric: value}, by) for value in values]
        assert not any(left_out for _, _, left_out in rows)
        weighed = [(scores[title], scores[title], weights.get(title, 1.0)) for scores, weights, _ in rows]
        theirs = task.by[metric](values)
        mean = extra_tasks._over_weights(weighed)[0].mean()
        assert mean == pytest.approx(np.log(theirs) if title.startswith("log") else theirs)
        figures.append(mean)
    lower = "perplexity" in metric or metric == "bits_per_byte"
    assert (figures[1] < figures[0]) == (lower == (way == "better"))
    assert pairing.metric_of(title) == metric


UNPAIRED = [("f1", "f1"), ("bleu", "bleu"), ("median", "median"), ("own", lambda items: max(items))]


@pytest.mark.parametrize(("metric", "aggregation"), UNPAIRED)
def test_what_cannot_be_paired_is_refused_by_name(metric, aggregation):
    task = Task(**{metric: aggregation})
    with pytest.raises(UserError, match=f"--also mine: nothing of it can be paired .{metric} is aggregated by"):
        extra_tasks._refuse_unpaired([task])
    extra_tasks._refuse_unpaired([Task(acc="mean", **{metric: aggregation})])
    _, _, left_out = pairing.shares({"metrics": [metric], metric: (1, 2)}, pairing.aggregations(task))
    assert left_out[metric].endswith("which is no mean over documents")


LIKELIHOODS = """\
task: small_{kind}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: {kind}
doc_to_text: "{text}"
doc_to_target: "{{{{question}}}}"
metric_list: {metrics}
"""


def test_the_figures_of_a_side_are_lm_evals_own(tasks, tmp_path):
    """Two tasks of log-likelihoods on the embedded model."""
    metrics = {
        "loglikelihood": "[{metric: perplexity}, {metric: acc}]",
        "loglikelihood_rolling": "[{metric: word_perplexity}, {metric: bits_per_byte}]",
    }
    for kind, listed in metrics.items():
        text = "" if kind.endswith("rolling") else "A question:"
        task = LIKELIHOODS.format(kind=kind, data=tasks / "rows.jsonl", metrics=listed, text=text)
        (tmp_path / f"{kind}.yaml").write_text(task)
    config = configuration(f"also_tasks={tmp_path}", engine="transformers")
    config = config.model_copy(update={"also": tuple(f"small_{kind}" for kind in metrics)})
    results, by = extra_tasks._evaluate(config, None)
    samples = [(task, each) for task, found in results["samples"].items() for each in found]
    summary = extra_tasks._summary(
        [extra_tasks._row(task, each, by[task], {}) for task, each in samples], results["higher_is_better"]
    )
    for task, title, figure in (
        ("small_loglikelihood", "log(perplexity)", "perplexity,none"),
        ("small_loglikelihood_rolling", "log(word_perplexity)", "word_perplexity,none"),
        ("small_loglikelihood_rolling", "bits_per_byte", "bits_per_byte,none"),
    ):
        theirs = results["results"][task][figure]
        mean = summary["tasks"][task][title]["mean"]
        assert mean == pytest.approx(np.log(theirs) if title.startswith("log") else theirs)
        assert summary["measures"][task][title]["better"] == -1


def test_what_an_older_program_kept_as_a_perplexity_is_not_compared(run):
    files = [run.path / "also" / f"{side}.{suffix}" for side in ("before", "after") for suffix in ("jsonl", "json")]
    kept = {file: file.read_text() for file in files}
    for file in files:
        file.write_text(kept[file].replace('"acc"', '"perplexity"'))
    run.hashes.add(*files)
    extra_tasks.compare_tasks(run)
    stored = read_json(run.path / "also/comparison.json")
    assert "small_choice" not in stored["tasks"]
    assert "an older program stored it otherwise" in stored["unpaired"]["small_choice"]["perplexity"]
    view = run_view.build(run, run.evaluations()).also
    assert any("small_choice: perplexity is not compared" in said for said in view.unpaired)
    for file, text in kept.items():
        file.write_text(text)
    run.hashes.add(*files)
    extra_tasks.compare_tasks(run)


@pytest.mark.parametrize(
    ("values", "share", "percent"),
    [([0, 1, 1], True, True), ([0.2, 1.0], False, True), ([-3.5, 0.2], False, False), ([12.0], False, False)],
)
def test_what_a_metric_is_follows_from_its_values(values, share, percent):
    kind = extra_tasks.definition_by_values(np.array(values), False)
    assert (kind.share, kind.percent, kind.better) == (share, percent, -1)
