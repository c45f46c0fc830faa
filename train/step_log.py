"""The log of a training: a row per step and per probe, and health warnings while it runs."""

import time
from collections.abc import Callable
from pathlib import Path

from transformers import TrainerCallback

from harness.console import progress
from harness.storage.files import cut_journal, json_line
from train import health
from train.training import Training


class StepLog(TrainerCallback):
    """Writes one line per step to log.jsonl and one per probe to probes.jsonl, and prints health warnings.

    Lines after the checkpoint that training continues from are dropped. `shown` is the figure beside the progress bar,
    `limit` the most tokens of a completion; `probed` gives a probe's results, one value per held-out problem.
    """

    def __init__(
        self,
        stage: Training,
        bar: progress.Bar,
        shown: str,
        limit: int | None = None,
        probed: Callable[[], list[float | None]] = list,
    ):
        self.log, self.probes = stage.folder / "log.jsonl", stage.folder / "probes.jsonl"
        self.stage, self.bar, self.shown, self.limit, self.probed = stage, bar, shown, limit, probed
        self.rows, self.probe_rows = (
            cut_journal(path, stage.done) if stage.first else [] for path in (self.log, self.probes)
        )
        self.warned: set[str] = set()
        self.step_started = time.perf_counter()

    def on_step_begin(self, *_: object, **__: object) -> None:
        self.step_started = time.perf_counter()

    def on_log(self, args, state, control, logs: dict | None = None, **_: object) -> None:
        correct = self.probed() if logs and "eval_reward" in logs else []
        if not state.is_world_process_zero or not logs:
            return
        if "eval_reward" in logs:
            values = {name.removeprefix("eval_"): value for name, value in logs.items()}
            self._keep(self.probes, self.probe_rows, {"step": state.global_step} | values | {"correct": correct})
            return
        if self.shown not in logs:
            return
        # TRL measures a step of GRPO itself, and no other.
        row = {"step": state.global_step, "step_time": time.perf_counter() - self.step_started} | logs
        self._keep(self.log, self.rows, row)
        self.bar.advance(1, f"{self.shown} {logs[self.shown]:.2f}")
        for warning in self.warnings():
            if warning.kind not in self.warned:
                self.warned.add(warning.kind)
                progress.note(f"step {state.global_step}: {warning.text}", self.stage.quiet)

    def warnings(self) -> list[health.HealthWarning]:
        """The health warnings so far; none of an SFT stage."""
        return health.warnings(self.rows, self.probe_rows, self.stage.config, self.limit) if self.limit else []

    @staticmethod
    def _keep(path: Path, rows: list[dict], row: dict) -> None:
        rows.append(row)
        with path.open("a", encoding="utf-8") as file:
            file.write(json_line(row))
