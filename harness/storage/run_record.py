"""run.json: the configuration asked for, the state of each stage, and what each stage noted about itself."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from harness.config import Configuration
from harness.errors import UserError
from harness.stages import LAST, REPORT, state_names
from harness.storage import validation
from harness.storage.schema import Record
from harness.version import __version__

FIX = "give another run folder"


class RunRecord:
    """One run.json, read again each time, as every stage is a process of its own that writes into it."""

    def __init__(self, file: Path):
        self.file = file

    def create(self, command: str, config: Configuration) -> None:
        """Write the record of a run in which nothing is done yet. `command` is what a user types to repeat it."""
        configuration = config.model_dump(mode="json")
        self.write(
            {
                "command": command,
                "version": __version__,
                "configuration": configuration,
                "stages": {},
                "provenance": {},
            }
        )

    def read(self) -> dict:
        """The whole of run.json. Raises UserError if it is damaged."""
        return validation.read(Record, self.file, FIX)

    def write(self, record: dict) -> None:
        """Replace the whole of run.json. Raises ValueError, and leaves it, if it could not be read again."""
        validation.write(Record, self.file, record)

    @contextmanager
    def changing(self) -> Iterator[dict]:
        """The whole of run.json, to be changed; written at the end. Stages that run side by side take turns."""
        with self.file.with_name(".record.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            record = self.read()
            yield record
            self.write(record)

    @property
    def command(self) -> str:
        return self.read()["command"]

    @property
    def configuration(self) -> dict:
        """The configuration as it was written, perhaps by an older version."""
        return self.read()["configuration"]

    @property
    def stages(self) -> dict[str, dict]:
        """State, seconds and end of each stage that was started."""
        return self.read()["stages"]

    @property
    def provenance(self) -> dict[str, dict]:
        """What each stage noted about itself."""
        return self.read()["provenance"]

    def is_done(self, stage: str) -> bool:
        """Whether a stage is finished; one that makes two sides, whether both are."""
        stages = self.stages
        return all(stages.get(name, {}).get("state") == "done" for name in state_names(stage))

    def ended(self, stage: str) -> datetime | None:
        """When a stage was done, in UTC; None where it is not, or an older version recorded it.

        Raises UserError if that is no date.
        """
        text = self.stages.get(stage, {}).get("ended")
        try:
            return datetime.fromisoformat(text).astimezone(UTC) if text else None
        except (ValueError, OverflowError) as error:
            raise UserError(f"{self.file}: damaged or edited ({error}): {FIX}") from error

    def unfinished(self) -> str | None:
        """The first stage that was started, or has to follow a finished one, and is not finished; the report aside."""
        record = self.read()
        trains = self.is_done("train") or record["configuration"].get("training_seeds") is not None
        due = dict.fromkeys((*record["stages"], *((LAST,) if trains else ())))
        return next((stage for stage in due if stage != REPORT and not self.is_done(stage)), None)

    @contextmanager
    def stage(self, name: str) -> Iterator[dict]:
        """Mark a stage as running, then as done with its seconds; what the body puts into the dict is its provenance.

        If the body fails, the stage is marked as stopped.
        """
        started, provenance = time.monotonic(), {}
        earlier = self.stages.get(name, {}).get("seconds", 0.0)
        self.mark(name, "running", earlier, provenance)
        try:
            yield provenance
        except BaseException:
            with suppress(OSError):  # on a full disk the first error is the one to show
                self.mark(name, "stopped", earlier + time.monotonic() - started, provenance)
            raise
        self.mark(name, "done", earlier + time.monotonic() - started, provenance, datetime.now(UTC))

    def mark(self, stage: str, state: str, seconds: float, provenance: dict, ended: datetime | None = None) -> None:
        """Write the state of a stage, when it ended if that is known, and its provenance if there is any."""
        end = {"ended": ended.isoformat(timespec="seconds")} if ended else {}
        with self.changing() as record:
            record["stages"][stage] = {"state": state, "seconds": round(seconds, 1)} | end
            if provenance:
                record["provenance"][stage] = provenance

    def set_provenance(self, stage: str, provenance: dict) -> None:
        """Write what a stage that is still running knows about itself so far."""
        with self.changing() as record:
            record["provenance"][stage] = provenance

    def set_command(self, command: str, config: Configuration) -> None:
        """Write the command that continues the run, and the configuration with its throughput settings."""
        with self.changing() as record:
            record |= {"command": command, "configuration": config.model_dump(mode="json")}
