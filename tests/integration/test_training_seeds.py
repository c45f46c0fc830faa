"""Several trainings by one recipe: what they say of it, a run of two that was killed between them, what others read."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import configuration
from scipy import stats

from baselines.statistics import seeds as simulated
from harness.cli import exit_code_of
from harness.cli.app import app
from harness.errors import UserError
from harness.evaluation import sides, training_seeds
from harness.notebook import load_run
from harness.statistics import gate
from harness.statistics.compare import metrics_of, over_common_problems
from harness.statistics.seed_statistics import of_metric, over_seeds
from harness.storage.run_folder import Run
from harness.types import DESCRIBED, NO_EVIDENCE, NOT_COMPARED, Completion, Evaluation, MetricValue, Score

SEEDS = (3407, 3408)
COMMAND = ("run", "--before-after", "--training-seeds", "2", "--limit", "12", "--set", "steps=2", "--output", "run")


def test_the_figures_of_three_trainings():
    deltas = np.array([[1.0, 0, 0, 1], [1, 0, -1, 1], [1, 0, 0, 0]])
    found = of_metric("accuracy_flexible", [7, 8, 9], deltas)
    assert found.deltas == {"7": 0.5, "8": 0.25, "9": 0.25}
    assert found.delta == pytest.approx(1 / 3)
    assert found.spread == pytest.approx(np.std([0.5, 0.25, 0.25], ddof=1))
    ends = stats.t.interval(0.95, 2, loc=1 / 3, scale=found.spread / 3**0.5)
    assert (found.seeds_low, found.seeds_high) == pytest.approx(ends)
    assert found.low < found.seeds_low < 1 / 3 < found.seeds_high < found.high <= 1.0
    assert (found.problems, found.verdict) == (4, DESCRIBED)


@pytest.mark.parametrize(
    ("deltas", "verdict", "low"),
    [
        (np.ones((3, 100)), DESCRIBED, pytest.approx(0.926, abs=1e-3)),
        (np.zeros((3, 5)), DESCRIBED, pytest.approx(-0.522, abs=1e-3)),
        (np.full((3, 5), np.nan), NOT_COMPARED, None),
        (np.array([[np.nan, 1.0, 0.0], [np.nan, np.nan, np.nan]]), NOT_COMPARED, None),
        (np.array([[np.nan, 1.0, 0.0], [np.nan, 0.0, 0.0]]), DESCRIBED, -1.0),
    ],
)
def test_what_shows_no_spread_has_no_interval(deltas, verdict, low):
    found = of_metric("accuracy_flexible", range(len(deltas)), deltas)
    assert (found.verdict, found.low) == (verdict, low)


def side(name: str, right: list[int]) -> Evaluation:
    places = [(f"p{number}", 0) for number in range(len(right))]
    completions = tuple(Completion(problem, index, "?", "1", "", 1, "stop", "sha", 0) for problem, index in places)
    scores = tuple(
        Score(
            problem, index, None, "en", {"accuracy_flexible": value, "accuracy_strict": 0.0, "format_strict": 0.0}, {}
        )
        for (problem, index), value in zip(places, map(float, right), strict=True)
    )
    names = scores[0].scores
    return Evaluation(name, completions, scores, dict.fromkeys(names, MetricValue(None, None, None, 0, 0)), {}, {})


@pytest.mark.parametrize(
    ("afters", "verdict"),
    [
        ([[1] * 28 + [0] * 12, [1] * 27 + [0] * 13, [1] * 29 + [0] * 11], "better"),
        ([[1] * 40] * 3, "better"),  # all the same: nothing varies
        ([[1] * 15 + [0] * 25] * 3, NO_EVIDENCE),  # 5 of 40 gained: nor is there evidence of these very adapters
        ([[1] * 36 + [0] * 4, [1] * 4 + [0] * 36], NO_EVIDENCE),  # one seed alone says better, the other worse
    ],
)
def test_the_verdict_is_about_the_recipe(afters, verdict):
    before = side("before", [1] * 10 + [0] * 30)
    found = over_seeds(before, {seed: side("after", right) for seed, right in enumerate(afters)})
    assert found["accuracy_flexible"].verdict == verdict
    # What never differs is no test that the others would pay for.
    assert found["accuracy_flexible"].p_adjusted == pytest.approx(found["accuracy_flexible"].p_value)
    assert found["format_strict"].verdict == NO_EVIDENCE


def test_the_gate_looks_at_every_adapter():
    settings = {"samples": 1, "training_seeds": 3, "dataset": "d", "limit": None, "split": None}
    before = side("before", [1] * 200)
    places = [(each, index) for each in before.completions for index in range(3)]
    completions = tuple(replace(each, index=index) for each, index in places)
    right = {"accuracy_flexible": 1.0, "accuracy_strict": 1.0, "format_strict": 1.0}
    scores = tuple(
        Score(each.problem_id, index, None, "en", right if index == 0 else dict.fromkeys(right, 0.0), {})
        for each, index in places
    )
    after = Evaluation("after", completions, scores, metrics_of(scores, False), {"adapter": {"a": "b"}}, settings)
    baseline = replace(
        before,
        scores=tuple(replace(each, scores=right) for each in before.scores),
        metrics=metrics_of(tuple(replace(each, scores=right) for each in before.scores)),
        settings=settings | {"training_seeds": None},
    )
    verdict = gate.check(after, baseline, {})
    assert verdict.result != "holds"
    (compared,) = over_common_problems([after])
    assert not [name for name in compared.metrics if name.startswith(("pass@", "maj@"))]


def test_a_training_that_is_not_finished_is_not_passed_over(tmp_path):
    config = configuration("training_seeds=2", limit=2)
    run = Run.create(tmp_path / "run", config, "harness run")
    with run.record.stage("before"):
        pass
    assert run.record.unfinished() == "after"
    assert list(training_seeds.finished(run)) == []
    with pytest.raises(UserError, match="seed-3407: this training is not finished: the command of the whole run"):
        training_seeds.members(run)


def test_a_seeds_run_goes_on_at_another_pace(tmp_path):
    config = configuration("training_seeds=2", limit=2, engine="transformers", engine_args={"batch_size": "64"})
    run = Run.create(tmp_path / "run", config, "harness run")
    one = training_seeds.open_seed(run, 3407)
    one.lock_file.close()
    run.record.set_command("harness run again", config.model_copy(update={"engine_args": {"batch_size": "8"}}))
    again = training_seeds.open_seed(run, 3407)
    assert again.config.engine_args == {"batch_size": "8"}
    assert again.record.command == "harness run again"


def test_the_recipes_interval_has_what_the_recipe_brings_and_one_adapters_has_not():
    one, these, _, recipe = simulated.coverages(5, 1319, 0.3, simulations=60)
    assert recipe > 0.9
    assert one < 0.65
    assert these < 0.9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "--before-after", "--training-seeds", "1"), "one training shows no spread: give at least 2"),
        (("run", "--training-seeds", "2"), "is for `harness run --before-after`, which trains and measures"),
        (("eval", "--training-seeds", "2"), "is for `harness run --before-after`, which trains and measures"),
        (("train", "--training-seeds", "2"), "is for `harness run --before-after`, which trains and measures"),
        (("run", "--before-after", "--training-seeds", "2", "--adapter", "."), "leave --adapter out"),
        (("run", "--before-after", "--training-seeds", "2", "--set", "training_seed=1"), "leave one of them out"),
        (("run", "--before-after", "--training-seeds", "2", "--stop-early"), "stops for one adapter's difference"),
        (
            ("run", "--before-after", "--training-seeds", "2", "--seed", str(2**32 - 1)),
            "go beyond 4294967295: lower it",
        ),
        (("run", "--before-after", "--training-seeds", "101"), "less than or equal to 100"),
    ],
)
def test_bad_input_is_one_line(command, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, said = command(*arguments)
    assert (code, said.count("\n")) == (2, 1)
    assert message in said
    assert not list(tmp_path.iterdir())


def test_the_training_alone_has_the_seed():
    config = configuration("training_seeds=3")
    assert list(training_seeds.seeds(config)) == [3407, 3408, 3409]
    one = training_seeds.configuration_of(config, 3409)
    assert (one.seed, one.training_seed, one.training_seeds) == (3407, 3409, None)


def test_the_plan_counts_every_training(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    plans = []
    for more in ((), ("--training-seeds", "3")):
        assert (
            exit_code_of(lambda more=more: app(["plan", "--before-after", "--json", *more], standalone_mode=False)) == 0
        )
        plans.append(json.loads(capsys.readouterr().out))
    one, three = plans
    assert three["trainings"] == 3
    assert three["training completions"] == 3 * one["training completions"]
    for stage, times in {"before": 1, "train": 3, "after": 3}.items():
        assert three["seconds"][stage] == pytest.approx(times * one["seconds"][stage], rel=0.01)


@pytest.fixture(scope="module")
def killed(tmp_path_factory, forks) -> tuple[Path, dict[str, int]]:
    """A run of two trainings that was killed in the second and then went on; when its first had ended."""
    folder = tmp_path_factory.mktemp("seeds")
    command = (*COMMAND, "--quiet")
    environment = os.environ | {"HARNESS_CACHE": str(folder / "cache")}
    program = Path(sys.executable).parent / "harness"
    with subprocess.Popen([program, *command], cwd=folder, env=environment, start_new_session=True) as process:
        while process.poll() is None and not (folder / "run" / f"seed-{SEEDS[1]}" / "train").is_dir():
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGKILL)
    first = folder / "run" / f"seed-{SEEDS[0]}"
    ended = {str(file): file.stat().st_mtime_ns for file in first.rglob("*.safetensors")}
    assert ended
    forks.run(command, folder, environment).check_returncode()
    return folder / "run", ended


def test_what_was_done_is_not_done_again(killed):
    run, ended = killed
    assert {file: Path(file).stat().st_mtime_ns for file in ended} == ended
    for seed in SEEDS:
        assert Run.open(run / f"seed-{seed}").record.provenance["train"] is not None
        effective = json.loads((run / f"seed-{seed}" / "train" / "effective_config.json").read_text())
        assert effective["arguments"]["seed"] == seed
    adapters = [Run.open(run / f"seed-{seed}").record.provenance["after"]["adapter"] for seed in SEEDS]
    assert adapters[0] != adapters[1]


def test_the_run_has_the_replies_of_all_adapters(killed):
    run, _ = killed
    whole = Run.open(run)
    parts = [Run.open(run / f"seed-{seed}") for seed in SEEDS]
    texts = {(each.problem_id, each.index): each.text for each in whole.completions("after")}
    for place, part in enumerate(parts):
        assert part.completions("before") == whole.completions("before")
        assert {texts[each.problem_id, place] for each in part.completions("after")} == {
            each.text for each in part.completions("after")
        }
    assert len(texts) == 24
    comparison, of_parts = whole.comparison()["metrics"], [part.comparison()["metrics"] for part in parts]
    seeds = whole.seeds()
    for name, each in seeds.items():
        differences = [known[name]["delta"] for known in of_parts]
        assert list(each.deltas.values()) == pytest.approx(differences)
        assert each.delta == pytest.approx(comparison[name]["delta"]) == pytest.approx(np.mean(differences))


def test_the_page_shows_every_seed(killed):
    run, _ = killed
    page, markdown = (run / "report" / "index.html").read_text(), (run / "report" / "report.md").read_text()
    for seed in SEEDS:
        assert f'href="../seed-{seed}/report/index.html"' in page
        assert f"| seed {seed} |" in markdown
        assert (run / f"seed-{seed}" / "report" / "index.html").is_file()
    for said in ("These 2 adapters change the share of correct answers", "The recipe: another training"):
        assert said in page
        assert said in markdown
    assert "This is about this one adapter" not in page
    assert (run / "report" / "plots" / "seeds.png").is_file()


def test_others_read_it(killed, tmp_path, harness):
    run, _ = killed
    assert [len(side.completions) for side in sides.load(str(run))] == [12, 24]
    assert sides.load(str(run / "seed-3408" / "after"))[0].name == "seed-3408/after"
    loaded = load_run(run)
    assert loaded.differences.loc["tokens", "n_pairs"] > 0
    assert list(loaded.seeds.columns[:4]) == [*SEEDS, "delta", "spread"]
    assert loaded.seeds.loc["tokens", list(SEEDS)].mean() == pytest.approx(loaded.seeds.loc["tokens", "delta"])
    assert load_run(run / "seed-3407").seeds.empty
    assert harness("gate", run, "--baseline", run / "before").returncode in (0, 3)
    assert harness("compare", run / "before", run / "seed-3407", run / "seed-3408").returncode == 0
    exported = harness("export", run, "--to", "lora")
    assert exported.returncode == 2
    assert f"name one of its trainings: {run / 'seed-3407'}" in exported.stderr


def test_scores_and_page_are_made_again(killed, harness):
    run, _ = killed
    old = (run / "seeds.json").read_bytes()
    (run / "seeds.json").unlink()
    done = harness("score", run)
    assert done.returncode == 0, done.stderr
    assert (run / "seeds.json").read_bytes() == old
    assert "The recipe: another training" in done.stdout


def test_only_a_seed_that_was_scored_again_is_gathered_again(killed, tmp_path):
    run = Run(shutil.copytree(killed[0], tmp_path / "copy"))
    gathered = run.path / "after" / "scores.jsonl"
    old, written = gathered.read_bytes(), gathered.stat().st_mtime_ns
    training_seeds.gather_changed(run)
    assert gathered.stat().st_mtime_ns == written
    member = training_seeds.members(run)[SEEDS[1]]
    scores = member.path / "after" / "scores.jsonl"
    rows = [json.loads(line) for line in scores.read_text().splitlines()]
    scores.write_text("".join(json.dumps(row | {"extracted": "other"}) + "\n" for row in rows))
    with pytest.raises(UserError, match="was changed after it was written"):
        training_seeds.gather_changed(run)
    member.hashes.add(scores)
    training_seeds.gather_changed(run)
    assert gathered.read_bytes() != old
    assert [each.extracted for each in run.evaluation("after").scores if each.index == 1] == ["other"] * 12
    parts = training_seeds.by_seed(run.config, run.evaluation("after"))
    assert [len(parts[seed].completions) for seed in SEEDS] == [12, 12]


def test_a_seed_that_is_gone_is_one_line(killed, tmp_path):
    run, _ = killed
    with pytest.raises(UserError, match="seed-3408: this training is not finished"):
        training_seeds.members(_without_second(run, tmp_path))


def _without_second(run: Path, folder: Path) -> Run:
    shutil.copytree(run, folder / "copy", ignore=shutil.ignore_patterns("seed-3408"))
    return Run.open(folder / "copy")
