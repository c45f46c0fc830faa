"""The run folder: its record, its stages, and each side's replies, scores and metrics."""

import gc
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from harness import __version__
from harness.config import Configuration, check
from harness.errors import UserError
from harness.storage import records, stored
from harness.storage.files import read_journal, read_json, sha256, write_bytes, write_json
from harness.storage.lock import hold
from harness.storage.stages import BASE, LAST, REPORT, SIDES, parts
from harness.storage.stored import Record
from harness.types import ANSWERED_BY, FLIPS_BY, Comparison, Completion, Evaluation, MetricValue, OverSeeds, Score

SIDE_FILES = ("completions.jsonl", "scores.jsonl", "metrics.json")
TRAINING_FILES = ("log.jsonl", "probes.jsonl", "rollouts.jsonl")
# How to make a file again that was lost or changed; what is not here cannot be made from the rest.
MADE_AGAIN_BY = {"scores.jsonl": "score", "metrics.json": "score", "comparison.json": "report", "seeds.json": "report"}


def run_and_side(place: Path) -> tuple[Path, str | None]:
    """The run folder and the side that RUN/side names; of any other place itself, and no side."""
    if place.name in SIDES and (place.parent / "run.json").is_file() and not (place / "run.json").is_file():
        return place.parent, place.name
    return place, None


class Run:
    """One run folder and its run.json."""

    def __init__(self, path: Path):
        self.path = path
        self.lock_file: IO | None = None
        # The run of several trainings that this one is a part of.
        self.whole: Run | None = None

    @classmethod
    def open(cls, path: Path) -> "Run":
        """A run that exists; a UserError where there is none."""
        if not (path / "run.json").is_file():
            raise UserError(f"{path}: not a run folder (no run.json): give the folder that `harness run` named")
        return cls(path)

    @classmethod
    def create(cls, path: Path, config: Configuration, command: str, fresh: bool = False) -> "Run":
        """The run of `config` in `path`: continued if it is there, refused if it is another's.

        With `fresh`, an old folder is moved aside first. `command` is what a user types to repeat it.
        """
        run = cls(path)
        try:
            if fresh and (path / "run.json").exists():
                path = path.resolve()
                cls(path).lock()
                path.rename(path.with_name(f"{path.name}.{datetime.now(UTC):%Y%m%d-%H%M%S}"))
            if (path / "run.json").is_file():
                run._refuse_another(config)
                return run
            # What a kill left of a file under its temporary name is nothing.
            if path.exists() and any(each.suffix != ".part" for each in path.iterdir()):
                raise UserError(f"{path}: not empty and not a run folder: give another --output")
            path.mkdir(parents=True, exist_ok=True)
            run._write(
                {
                    "command": command,
                    "version": __version__,
                    "configuration": config.model_dump(mode="json"),
                    "stages": {},
                    "provenance": {},
                }
            )
        except OSError as error:
            raise UserError(f"{path}: cannot be written ({error.strerror}): give another --output") from error
        return run

    @property
    def config(self) -> Configuration:
        # An older program evaluated the first problems of a file.
        return check({"limit_order": "file"} | self.record["configuration"])

    @property
    def record(self) -> dict:
        """run.json as it stands; a UserError where it is not one."""
        return stored.read(Record, self.path / "run.json", "give another run folder")

    @property
    def report(self) -> Path:
        return self.path / "report" / "index.html"

    @property
    def adapter(self) -> Path:
        return self.path / "train" / "adapter"

    @property
    def warm_up(self) -> Path:
        """What SFT leaves: a folder like train/, its adapter the one that GRPO goes on with."""
        return self.path / "train" / "sft"

    def adapter_of(self, side: str) -> str | None:
        """The adapter that answers on a side; None for the base alone."""
        if side == BASE:
            return None
        if self.config.adapter:
            return self.config.adapter
        adapter = self.warm_up / "adapter" if side == "sft" else self.adapter
        self.verify(adapter)
        return str(adapter.resolve())

    def is_done(self, stage: str) -> bool:
        """Whether a stage is finished, or each part of one such as before+after."""
        stages = self.record["stages"]
        return all(stages.get(part, {}).get("state") == "done" for part in parts(stage))

    def unfinished(self) -> str | None:
        """The first stage that is begun, or has to follow what is done, and is not finished; the report aside."""
        trains = self.is_done("train") or self.config.training_seeds is not None
        begun = dict.fromkeys((*self.record["stages"], *((LAST,) if trains else ())))
        return next((stage for stage in begun if stage != REPORT and not self.is_done(stage)), None)

    @contextmanager
    def stage(self, name: str) -> Iterator[dict]:
        """Mark a stage running, then done with its seconds; what the body puts into the dict is its provenance."""
        started, provenance = time.monotonic(), {}
        earlier = self.record["stages"].get(name, {}).get("seconds", 0.0)
        self._mark(name, {"state": "running", "seconds": earlier}, provenance)
        try:
            yield provenance
        except BaseException:
            with suppress(OSError):  # on a full disk what went wrong is to be said, not that it cannot be noted
                self._mark(name, {"state": "stopped", "seconds": earlier + time.monotonic() - started}, provenance)
            raise
        self._mark(name, {"state": "done", "seconds": earlier + time.monotonic() - started}, provenance)

    def keep(self, *files: Path) -> None:
        """Remember the hashes of files that are finished; those that are not there have none."""
        hashes = {str(file.relative_to(self.path)): sha256(file) for file in files if file.is_file()}
        self._write(self.record | {"files": self.record.get("files", {}) | hashes})

    def take_over(self, other: "Run", stage: str, places: Sequence[str]) -> None:
        """Copy a finished stage of another run, its files at or below `places`, and mark it done here."""
        record = other.record
        files = [name for name in record.get("files", {}) if any(Path(name).is_relative_to(each) for each in places)]
        other.verify(*(other.path / name for name in files))
        for name in files:
            write_bytes(self.path / name, (other.path / name).read_bytes())
        self.keep(*(self.path / name for name in files))
        self._mark(stage, {"state": "done", "seconds": 0.0}, record["provenance"].get(stage, {}))

    def verify(self, *places: Path) -> None:
        """A UserError where a finished file, at a place or below it, is not as it was written."""
        for name, kept in self.record.get("files", {}).items():
            file = self.path / name
            if any(file.is_relative_to(place) for place in places) and not (file.is_file() and sha256(file) == kept):
                what = "was changed after it was written" if file.is_file() else "is gone"
                again = MADE_AGAIN_BY.get(file.name)
                fix = f"run `harness {again} {self.path}`" if again else "bring it back, or start again with --fresh"
                raise UserError(f"{file}: {what}: {fix}")

    def evaluation(self, side: str) -> Evaluation:
        """One side as it is stored; a UserError where it is not there."""
        folder, metrics = self.path / side, self.metrics(side)
        self.verify(folder / "scores.jsonl")
        record, completions = self.record, self.completions(side)
        scores = _scores(folder / "scores.jsonl")
        if scores.keys() != {each.place for each in completions}:
            raise UserError(
                f"{folder}: {len(completions)} replies and {len(scores)} scores that do not belong together: grade "
                f"them again with `harness score {self.path}`"
            )
        return Evaluation(
            name=side,
            completions=tuple(completions),
            scores=tuple(scores[completion.place] for completion in completions),
            metrics=metrics,
            provenance=record["provenance"].get(side, {}),
            settings=record["configuration"],
        )

    def metrics(self, side: str) -> dict[str, MetricValue]:
        """A side's metrics.json; a UserError where it is not there, or not one."""
        file = self.path / side / "metrics.json"
        self.verify(file)
        if not file.is_file():
            raise UserError(f"{file.parent}: no graded evaluation here: run `harness run` or `harness score` first")
        return _metrics(file)

    def comparison(self) -> dict:
        """comparison.json as Comparison.as_dict() made it; a UserError where it is not one."""
        file, fix = self.path / "comparison.json", f"make it again with `harness score {self.path}`"
        self.verify(file)
        # Either may be missing in what an older program has left.
        return {"warnings": [], "others": []} | stored.read(Comparison, file, fix)

    def write_comparison(self, comparison: Comparison) -> None:
        write_json(self.path / "comparison.json", comparison.as_dict())
        self.keep(self.path / "comparison.json")

    def seeds(self) -> dict[str, OverSeeds] | None:
        """What seeds.json says of several trainings, by metric; None where there is none."""
        file = self.path / "seeds.json"
        self.verify(file)
        if not file.is_file():
            return None
        rows = read_json(file)
        try:
            return {name: records.make(OverSeeds, row) for name, row in rows.items()}
        except (TypeError, ValueError, AttributeError) as error:
            fix = f"run `harness report {self.path}`"
            raise UserError(f"{file}: not as the program wrote it ({error}): {fix}") from error

    def also_comparison(self) -> dict | None:
        """The differences of lm-eval's tasks; None where the run has none."""
        file = self.path / "also" / "comparison.json"
        self.verify(file)
        return stored.read_also_compared(file) if file.is_file() else None

    def evaluations(self) -> list[Evaluation]:
        """Every finished side, in order."""
        # Millions of small objects, all to stay: the collector would look through them again and again.
        gc.disable()
        try:
            return [self.evaluation(side) for side in SIDES if self.is_done(side)]
        finally:
            gc.enable()

    def graded(self, side: str | None) -> list[Evaluation]:
        """All finished sides, or the one that is named; a UserError where there is none."""
        if side is None:
            self.finished_sides()
            return self.evaluations()
        if not self.is_done(side):
            raise UserError(f"{self.path / side}: this side is not finished: finish the run, or name another side")
        return [self.evaluation(side)]

    def completions(self, side: str) -> list[Completion]:
        """The journalled replies of a side, as far as it has come, in the dataset's order."""
        path = self.path / side / "completions.jsonl"
        self.verify(path)
        try:
            rows = [records.make(Completion, row) for row in read_journal(path)]
        except (TypeError, ValueError) as error:
            raise UserError(f"{path}: a line is not a reply ({error}): delete it, then run again") from error
        if len({row.place for row in rows}) < len(rows):
            raise UserError(f"{path}: a reply stands there twice: delete one of them, then run again")
        return sorted(rows, key=lambda row: row.position)

    def finished_sides(self) -> list[str]:
        """The sides with all their replies; a UserError where there is none."""
        done = [side for side in SIDES if self.is_done(side)]
        for side in done:
            if not self.has_replies(side):
                self.verify(self.path / side / "completions.jsonl")
                raise UserError(f"{self.path / side}: its replies are gone: run again with --fresh")
        if not done:
            raise UserError(f"{self.path}: no finished evaluation: run `harness eval` or `harness run` first")
        return done

    def has_replies(self, side: str) -> bool:
        """Whether a side's journal is begun."""
        journal = self.path / side / "completions.jsonl"
        return journal.is_file() and journal.stat().st_size > 0

    def _refuse_another(self, config: Configuration) -> None:
        # What the older program did not know is as its default.
        before, now = self.config.identity, config.identity
        changed = [key for key in before | now if before.get(key) != now.get(key)]
        if changed:
            key = changed[0]
            more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
            raise UserError(
                f"{self.path} was made by another configuration ({key}: {before.get(key)!r} there, "
                f"{now.get(key)!r} now{more}): give another --output, or --fresh to move the old one aside"
            )

    def note(self, stage: str, provenance: dict) -> None:
        """Keep what a stage has found out so far."""
        self._write(self.record | {"provenance": self.record["provenance"] | {stage: provenance}})

    def remember(self, command: str, config: Configuration) -> None:
        """Keep the command that brings the run further, and the pace that it is to go on at."""
        self._write(self.record | {"command": command, "configuration": config.model_dump(mode="json")})

    def lock(self) -> None:
        """Hold the folder for this process and the stages that it starts; a UserError where another has it."""
        self.lock_file = hold(self.path)

    def _mark(self, name: str, state: dict, provenance: dict) -> None:
        record = self.record
        record["stages"][name] = state | {"seconds": round(state["seconds"], 1)}
        if provenance:
            record["provenance"][name] = provenance
        self._write(record)

    def _write(self, record: dict) -> None:
        write_json(self.path / "run.json", record)


def _scores(path: Path) -> dict[tuple[str, int], Score]:
    """The graded replies of scores.jsonl by place; a UserError where a line is not one."""
    try:
        scores = [records.make(Score, row) for row in read_journal(path)]
        for score in scores:
            if not {score.scores[FLIPS_BY], score.scores[ANSWERED_BY]} <= {0, 1, None}:
                raise ValueError("an accuracy that is not 0, 1 or null")
    except (TypeError, ValueError, KeyError) as error:
        raise UserError(f"{path}: a line is not a score ({error}): run `harness score`") from error
    return {score.place: score for score in scores}


def _metrics(path: Path) -> dict[str, MetricValue]:
    try:
        metrics = {name: records.make(MetricValue, row) for name, row in read_json(path).items()}
        if any((each.low is None) != (each.high is None) for each in metrics.values()):
            raise ValueError("an interval with one end")
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path}: not a side's metrics ({error}): run `harness score`") from error
    if not {FLIPS_BY, ANSWERED_BY} <= metrics.keys():
        raise UserError(f"{path}: without {FLIPS_BY} or {ANSWERED_BY}: run `harness score`")
    return metrics
