"""Trackers, each in a mode that needs no account, on what a run left behind and on a whole run."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import configuration, write_jsonl
from hostile import TEXTS, controls

from harness.statistics import headline
from harness.storage.run_folder import Run
from harness.types import Difference, from_row
from train import trackers

SMALL = ("--limit=4", "--set=steps=2", "--set=prompts_per_step=2", "--set=generations=2", "--set=eval_every=1",
         "--set=eval_problems=2", "--before-after")  # fmt: skip


def has_all(records: bytes) -> bool:
    """Whether the curves of training and probes, the metrics of both sides and the plots are in a tracker's file."""
    wanted = ("train/reward", "probe/rewards/accuracy_strict/mean", "before/accuracy_strict", "after/accuracy_strict",
              "report/training", "difference/accuracy_strict", "verdict/accuracy_strict", "report/headline",
              "report/warnings", "report/comparison")  # fmt: skip
    return [name for name in wanted if name.encode() not in records] == []


@pytest.fixture(scope="module")
def job(tmp_path_factory, forks):
    """A whole run that SwanLab followed, and what it said."""
    pytest.importorskip("swanlab")
    folder = tmp_path_factory.mktemp("job")
    command = ["run", *SMALL, "--set", "tracker=swanlab", "--output", "r", "--json"]
    done = forks.run(command, folder, dict(os.environ))
    assert done.returncode == 0, done.stderr
    return folder / "r", done


def test_swanlab_has_curves_metrics_and_plots_in_one_run(job):
    run, done = job
    json.loads(done.stdout.strip().split("\n")[-1])
    (kept,) = (run / "tracker").rglob("run-*.swanlab")
    assert has_all(kept.read_bytes())
    assert len(list((run / "tracker").rglob("*.png"))) == len(list((run / "report/plots").iterdir())) == 5
    texts = {file.read_text() for file in (run / "tracker").rglob("media/text/*.txt")}
    stored = Run.open(run).comparison()
    differences = {name: from_row(Difference, each) for name, each in stored["metrics"].items()}
    assert texts >= {"\n".join(headline.lines(differences, stored["gain"]))}
    (table,) = (run / "tracker").rglob("media/echarts/*.json")
    assert all(name in table.read_text() for name in ("95 % interval", *differences))


def copied(run: Path, copy: Path) -> Path:
    """A finished run without what its tracker wrote."""
    return shutil.copytree(run, copy, ignore=shutil.ignore_patterns("tracker"))


def follow_again(copy: Path, tracker: str, **settings: str) -> str:
    """Let another tracker follow a finished run: it logs what is there already, as after a kill. Returns its words."""
    record = json.loads((copy / "run.json").read_text())
    record["configuration"] |= {"tracker": tracker} | settings
    record["stages"]["report"]["state"] = "running"
    (copy / "run.json").write_text(json.dumps(record))
    code = "from pathlib import Path; from harness.storage.run_folder import Run; from train.trackers import tracked\n"
    code += f"with tracked(Run(Path({str(copy)!r})), ['report']): pass"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_wandb_has_them_too(job, tmp_path):
    pytest.importorskip("wandb")
    said = follow_again(copied(job[0], tmp_path / "r"), "wandb")
    assert "ignored" not in said
    (kept,) = (tmp_path / "r/tracker").rglob("run-*.wandb")
    assert has_all(kept.read_bytes())
    assert len(list((tmp_path / "r/tracker").rglob("*.png"))) == 5


def test_mlflow_has_them_in_its_files(job, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    assert "mlflow" not in follow_again(copied(job[0], tmp_path / "r"), "mlflow")
    client = mlflow.MlflowClient(tracking_uri=(tmp_path / "r/tracker").as_uri())
    (run,) = client.search_runs([client.get_experiment_by_name("harness").experiment_id])
    assert run.info.status == "FINISHED"
    assert [metric.step for metric in client.get_metric_history(run.info.run_id, "train/reward")] == [1, 2]
    comparison = json.loads((tmp_path / "r/comparison.json").read_text())["metrics"]
    verdicts = {name: value for name, value in run.data.tags.items() if name.startswith("verdict/")}
    assert verdicts.items() >= {("verdict/accuracy_strict", comparison["accuracy_strict"]["verdict"])}
    assert len(verdicts) == len(comparison)
    assert run.data.metrics["difference/accuracy_strict"] == comparison["accuracy_strict"]["delta"]
    assert run.data.params["steps"] == "2"
    assert len(list((tmp_path / "r/tracker").rglob("report/*.png"))) == 5
    (table,) = (tmp_path / "r/tracker").rglob("report/comparison.json")
    assert [row[0] for row in json.loads(table.read_text())["data"]][:2] == [*comparison][:2]
    assert run.data.tags["report/headline"].startswith("In the required format: ")


def test_trackio_has_them_in_its_files(job, tmp_path, monkeypatch):
    pytest.importorskip("trackio")
    monkeypatch.delenv("TRACKIO_DIR", raising=False)
    assert follow_again(copied(job[0], tmp_path / "r"), "trackio") == ""
    with sqlite3.connect(tmp_path / "r/tracker/harness.db") as database:
        logged = [(step, json.loads(values)) for step, values in database.execute("SELECT step, metrics FROM metrics")]
        ((config,),) = database.execute("SELECT config FROM configs")
    last = {name: value for _, values in logged for name, value in values.items()}
    assert has_all(json.dumps(last).encode())
    assert [step for step, values in logged if "train/reward" in values] == [1, 2]
    comparison = json.loads((tmp_path / "r/comparison.json").read_text())["metrics"]
    verdicts = {name: value["_value"] for name, value in last.items() if name.startswith("verdict/")}
    assert verdicts == {f"verdict/{name}": each["verdict"] for name, each in comparison.items()}
    assert last["difference/accuracy_strict"] == comparison["accuracy_strict"]["delta"]
    assert last["report/headline"]["_value"].startswith("In the required format: ")
    assert [row["metric"] for row in last["report/comparison"]["_value"]][:2] == [*comparison][:2]
    assert json.loads(config)["steps"] == 2
    assert len(list((tmp_path / "r/tracker").rglob("media/harness/*/*/*.png"))) == 5


@pytest.mark.parametrize("tracker", trackers.TRACKERS)
def test_hostile_texts_of_a_run_stop_no_tracker_and_leave_its_folder_alone(job, tmp_path, tracker):
    """What a tracker gets of anybody's texts: the settings, the warnings, names of problems in them."""
    pytest.importorskip(tracker)
    run = copied(job[0], tmp_path / "r")
    comparison = json.loads((run / "comparison.json").read_text())
    (run / "comparison.json").write_text(json.dumps(comparison | {"warnings": [*TEXTS.values()]}))
    Run(run).hashes.add(run / "comparison.json")
    before = {*tmp_path.rglob("*")}
    words = "\n".join(TEXTS.values())
    said = follow_again(run, tracker, dataset=words, name=words, system_prompt=words)
    assert "follows no more" not in said
    assert not controls(said.replace("\n", ""))
    new = {*tmp_path.rglob("*")} - before
    assert [each for each in new if run / "tracker" not in (each, *each.parents)] == []
    # Of MLflow the names are those of files.
    kept = b"".join(bytes(each) + each.read_bytes() for each in new if each.is_file())
    assert has_all(kept)
    assert b"document.title = 'hurt'" in kept


def test_trackio_writes_each_run_of_a_process_into_its_own_folder(tmp_path, monkeypatch):
    pytest.importorskip("trackio")
    monkeypatch.delenv("TRACKIO_DIR", raising=False)
    for name in ("first", "second"):
        run = Run.create(tmp_path / name, configuration("tracker=trackio"), "harness run")
        tracker = trackers._open("trackio", run)
        tracker.log({"train/reward": 1.0}, 1)
        tracker.close()
        assert [file.name for file in (tmp_path / name / "tracker").glob("*.db")] == ["harness.db"]
    assert "TRACKIO_DIR" not in os.environ


def test_tensorboard_has_the_curves(harness, tmp_path):
    pytest.importorskip("tensorboard")
    done = harness("train", *SMALL[:-1], "--set", "tracker=tensorboard", "--output", "r")
    assert done.returncode == 0, done.stderr
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "r/train/tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("train/reward")] == [1, 2]


def test_swanlabs_board_is_asked_for_in_a_line(harness):
    pytest.importorskip("swanlab")
    done = harness("train", *SMALL[:-1], "--set", "tracker=swanlab", "--output", "r", SWANLAB_MODE="local")
    assert done.returncode == 2
    assert "SWANLAB_MODE=local needs swanboard: pip install 'swanlab[dashboard]'" in done.stderr


def test_a_tracker_without_a_login_is_asked_for_in_a_line(harness):
    pytest.importorskip("wandb")
    done = harness(
        "train", *SMALL[:-1], "--set", "tracker=wandb", "--output", "r", WANDB_MODE="online", WANDB_API_KEY="",
        WANDB_BASE_URL="http://127.0.0.1:9", NETRC="nowhere",
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "tracker wandb does not start" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("tracker", "variable", "fix"),
    [
        ("mlflow", "MLFLOW_TRACKING_URI", "fix MLFLOW_TRACKING_URI"),
        ("trackio", "TRACKIO_SERVER_URL", "TRACKIO_WRITE_TOKEN"),
    ],
)
def test_a_server_that_cannot_be_used_is_named_in_a_line(harness, tracker, variable, fix):
    pytest.importorskip(tracker)
    server = {variable: "http://127.0.0.1:9"}
    done = harness("train", *SMALL[:-1], "--set", f"tracker={tracker}", "--output", "r", **server)
    assert done.returncode == 2, done.stderr
    assert f"tracker {tracker} does not start" in done.stderr.splitlines()[-1]
    assert fix in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_steps_that_come_again_are_logged_once(tmp_path, monkeypatch):
    """Killed at step 3, going on from the checkpoint of step 2."""
    run = Run.create(tmp_path / "r", configuration("tracker=swanlab"), "harness run")
    checkpoint = run.path / "train/checkpoints/checkpoint-2"
    checkpoint.mkdir(parents=True)
    (checkpoint / "trainer_state.json").write_text('{"global_step": 2, "max_steps": 4}')
    write_jsonl(run.path / "train/log.jsonl", [{"step": step, "reward": 0.0} for step in (1, 2, 3)])
    logged = []
    tracker = SimpleNamespace(log=lambda values, step: logged.append((step, values)), image=None, close=lambda: None)
    monkeypatch.setattr(trackers, "_open", lambda name, run: tracker)
    with trackers.tracked(run, ["train"]), (run.path / "train/log.jsonl").open("a") as log:
        log.writelines(json.dumps({"step": step, "reward": 1.0}) + "\n" for step in (3, 4))
    assert logged == [(step, {"train/reward": float(step > 2)}) for step in (1, 2, 3, 4)]
