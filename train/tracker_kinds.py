"""The trackers, one class each, all with the same methods: log, texts, table, image, close.

Each is made from a run and its settings, whose texts it can store.
"""

import os
import re
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from harness.errors import UserError
from harness.storage.links import real_path
from harness.storage.run_folder import Run

PROJECT = "harness"
# What MLflow takes.
LONGEST_PARAMETER = 6000
LONGEST_TAG = 5000
NOT_IN_MLFLOW_NAMES = re.compile(r"[^/\w.\- ]")


class SwanLab:
    """SwanLab, offline unless SWANLAB_MODE says cloud or local."""

    fix = "log in there, set SWANLAB_API_KEY, or SWANLAB_MODE=offline"

    def __init__(self, run: Run, settings: dict[str, Any]):
        import swanlab

        mode = os.environ.get("SWANLAB_MODE", "offline")
        if mode == "local" and find_spec("swanboard") is None:
            raise UserError("SWANLAB_MODE=local needs swanboard: pip install 'swanlab[dashboard]'")
        self.module: ModuleType = swanlab
        folder = run.path / "tracker"
        folder.mkdir(exist_ok=True)
        swanlab.init(
            project=PROJECT,
            name=run.config.folder_name,
            mode=mode,
            log_dir=str(folder),
            config=settings,
        )

    def log(self, values: dict[str, float], step: int) -> None:
        self.module.log(values, step=step)

    def texts(self, texts: dict[str, str]) -> None:
        self.module.log({name: self.module.Text(text) for name, text in texts.items()})

    def table(self, name: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        table = self.module.echarts.Table()
        table.add([*head], [[*row] for row in rows])
        self.module.log({name: table})

    def image(self, name: str, path: Path) -> None:
        self.module.log({name: self.module.Image(str(path))})

    def close(self) -> None:
        self.module.finish()


class Wandb:
    """Weights & Biases, offline unless WANDB_MODE says online."""

    fix = "log in there, set WANDB_API_KEY, or WANDB_MODE=offline"

    def __init__(self, run: Run, settings: dict[str, Any]):
        import wandb

        self.module: ModuleType = wandb
        folder = run.path / "tracker"
        folder.mkdir(exist_ok=True)
        self.run = wandb.init(
            project=PROJECT,
            name=run.config.folder_name,
            mode=os.environ.get("WANDB_MODE", "offline"),
            dir=str(folder),
            config=settings,
            settings=wandb.Settings(console="off", silent=True),
        )
        # Its own steps only ever grow, and probes and training have each their own.
        self.run.define_metric("*", step_metric="step")

    def log(self, values: dict[str, float], step: int) -> None:
        self.run.log({"step": step} | values)

    def texts(self, texts: dict[str, str]) -> None:
        self.run.summary.update(texts)

    def table(self, name: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        self.run.log({name: self.module.Table(columns=[*head], data=[[*row] for row in rows])})

    def image(self, name: str, path: Path) -> None:
        self.run.log({name: self.module.Image(str(path))})

    def close(self) -> None:
        self.run.finish()


class MLflow:
    """MLflow, in files of the run folder unless MLFLOW_TRACKING_URI names a server. A text is a tag."""

    fix = "fix MLFLOW_TRACKING_URI, or leave it out to write into the run folder"

    def __init__(self, run: Run, settings: dict[str, Any]):
        # Its newer versions write files only where this is allowed; a database would need far more packages.
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        # By default a server that is down is waited for for minutes.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
        import mlflow

        self.entities: ModuleType = mlflow.entities
        address = os.environ.get("MLFLOW_TRACKING_URI") or real_path(run.path / "tracker").as_uri()
        # Not its global run, which each thread has its own of.
        self.client = mlflow.MlflowClient(tracking_uri=address)
        experiment = self.client.get_experiment_by_name(PROJECT)
        number = experiment.experiment_id if experiment else self.client.create_experiment(PROJECT)
        self.run = self.client.create_run(number, run_name=run.config.folder_name).info.run_id
        keys = settings.items()
        params = [mlflow.entities.Param(key, str(value)[:LONGEST_PARAMETER]) for key, value in keys]
        self.client.log_batch(self.run, params=params)

    def log(self, values: dict[str, float], step: int) -> None:
        now = time.time_ns() // 10**6
        named = {NOT_IN_MLFLOW_NAMES.sub("", name): value for name, value in values.items()}
        metrics = [self.entities.Metric(name, value, now, step) for name, value in named.items()]
        self.client.log_batch(self.run, metrics=metrics)

    def texts(self, texts: dict[str, str]) -> None:
        for name, text in texts.items():
            self.client.set_tag(self.run, NOT_IN_MLFLOW_NAMES.sub("", name), text[:LONGEST_TAG])

    def table(self, name: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        self.client.log_dict(self.run, {"columns": [*head], "data": [[*row] for row in rows]}, f"{name}.json")

    def image(self, name: str, path: Path) -> None:
        self.client.log_artifact(self.run, str(path), name.rpartition("/")[0])

    def close(self) -> None:
        self.client.set_terminated(self.run)


class Trackio:
    """trackio, in files of the run folder unless TRACKIO_DIR, TRACKIO_SERVER_URL or TRACKIO_SPACE_ID says otherwise."""

    fix = "fix TRACKIO_SERVER_URL or TRACKIO_SPACE_ID, or leave both out to write into the run folder"

    def __init__(self, run: Run, settings: dict[str, Any]):
        self.module = _imported_for(run.path / "tracker")
        # It shows on stdout commands that do not find the run folder.
        with redirect_stdout(None):
            self.run = self.module.init(
                project=PROJECT,
                name=run.config.folder_name,
                config=settings,
                embed=False,
                auto_log_cpu=False,
                auto_log_gpu=False,
            )

    def log(self, values: dict[str, float], step: int) -> None:
        self.run.log(values, step)

    def texts(self, texts: dict[str, str]) -> None:
        self.run.log({name: self.module.Markdown(text) for name, text in texts.items()})

    def table(self, name: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        self.run.log({name: self.module.Table(columns=[*head], data=[[*row] for row in rows])})

    def image(self, name: str, path: Path) -> None:
        self.run.log({name: self.module.Image(path)})

    def close(self) -> None:
        with redirect_stdout(None):
            self.module.finish()


def _imported_for(folder: Path) -> ModuleType:
    """trackio, with its files in `folder` unless TRACKIO_DIR is set.

    It reads TRACKIO_DIR when it is imported, which another run or TRL may have done: so it is imported anew.
    """
    for name in [name for name in sys.modules if name.partition(".")[0] == "trackio"]:
        del sys.modules[name]
    named = os.environ.get("TRACKIO_DIR")
    os.environ["TRACKIO_DIR"] = named or str(real_path(folder))
    try:
        import trackio
    finally:
        if not named:
            del os.environ["TRACKIO_DIR"]
    return trackio
