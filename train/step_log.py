"""What a trainer reports after each step, as a line of log.jsonl."""

from pathlib import Path

from transformers import TrainerCallback

from harness import progress
from harness.store import json_line, read_journal, write_lines


class StepLog(TrainerCallback):
    """One line a step in log.jsonl; lines after the checkpoint that training goes on from are dropped."""

    def __init__(self, path: Path, done: int, bar: progress.Bar):
        self.path, self.bar = path, bar
        write_lines(path, [row for row in read_journal(path) if row["step"] <= done])

    def on_log(self, args, state, control, logs: dict | None = None, **_: object) -> None:
        if not logs or "reward" not in logs:
            return
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json_line({"step": state.global_step, **logs}))
        self.bar.advance(1, f"reward {logs['reward']:.2f}")
