"""The run folder: where its files are, and each side's completions, scores and metrics."""

import gc
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import chain, count
from pathlib import Path
from typing import IO

from harness.config import Configuration, check
from harness.errors import UserError
from harness.stages import BASE, SIDES, STAGES
from harness.storage import result_files, validation
from harness.storage.files import finished_names, write_bytes
from harness.storage.integrity import FileHashes
from harness.storage.links import real_path, refuse_leaving
from harness.storage.lock import hold
from harness.storage.run_record import RunRecord
from harness.types import Comparison, Completion, Evaluation, MetricValue, OverSeeds, Score

SIDE_FILES = ("completions.jsonl", "scores.jsonl", "metrics.json")
RECORD_FILES = (".record.lock", "run.json", ".lock")
TRAINING_FILES = ("log.jsonl", "probes.jsonl", "rollouts.jsonl")


def run_and_side(place: Path) -> tuple[Path, str | None]:
    """The run folder and the side that RUN/side names; for any other place the place itself, and None."""
    if place.name in SIDES and (place.parent / "run.json").is_file() and not (place / "run.json").is_file():
        return place.parent, place.name
    return place, None


class Run:
    """One run folder. `record` is its run.json, `hashes` those of its finished files."""

    def __init__(self, path: Path):
        self.path = path
        self.record = RunRecord(path / "run.json")
        self.hashes = FileHashes(path, self.record)
        self.lock_file: IO | None = None
        # The folders that this process made for the run, the innermost first.
        self._made: list[Path] = []
        # The run of several trainings that this one belongs to.
        self.parent: Run | None = None

    @classmethod
    def open(cls, path: Path) -> "Run":
        """An existing run. Raises UserError if there is none in `path`, or if a link in it leads out of it."""
        if not (path / "run.json").is_file():
            raise UserError(f"{path}: not a run folder (no run.json): give the folder that `harness run` named")
        refuse_leaving(path)
        return cls(path)

    @classmethod
    def create(cls, path: Path, config: Configuration, command: str, fresh: bool = False) -> "Run":
        """A new run of `config` in `path`, or the one that is there, to continue; locked, as by `lock`.

        `fresh` renames an old folder first; `command` is what a user types to repeat it. Raises UserError if another
        process uses the folder, or if it holds anything else, or a run of another configuration.
        """
        run = cls(path)
        try:
            if fresh and (path / "run.json").exists():
                old = cls(real_path(path))
                old.lock()
                old.path.rename(_name_for_old(old.path))
            run._refuse_foreign()
            refuse_leaving(path)
            run._make_and_lock()
            if (path / "run.json").is_file():
                run._refuse_another(config)
            else:
                run.record.create(command, config)
        except OSError as error:
            raise UserError(f"{path}: cannot be written ({error.strerror}): give another --output") from error
        return run

    def _refuse_foreign(self) -> None:
        names = finished_names(self.path) if self.path.exists() else set()
        # Looked for last, as another process may be writing its first files here.
        if names - {*RECORD_FILES} and not (self.path / "run.json").is_file():
            raise UserError(f"{self.path}: not empty and not a run folder: give another --output")

    def _make_and_lock(self) -> None:
        """Lock a folder that may not be there yet, before anything is read or written in it."""
        self._make()
        try:
            self.lock()
        except FileNotFoundError:  # another process has just renamed or removed it
            self._make()
            self.lock()

    def _make(self) -> None:
        # Where a link leads, though nothing is there (any more): --fresh has renamed it.
        folder = real_path(self.path)
        self._made += [each for each in (folder, *folder.parents) if not each.exists()]
        folder.mkdir(parents=True, exist_ok=True)

    def _refuse_another(self, config: Configuration) -> None:
        # A key that an older version did not have counts as its default.
        before, now = self.config.identity, config.identity
        changed = [key for key in before | now if before.get(key) != now.get(key)]
        if changed:
            key = changed[0]
            more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
            raise UserError(
                f"{self.path} was made by another configuration ({key}: {before.get(key)!r} there, "
                f"{now.get(key)!r} now{more}): give another --output, or --fresh to start over (the old folder is kept)"
            )

    def lock(self) -> None:
        """Lock the folder for this process and the stages it starts. Raises UserError if another process uses it."""
        self.lock_file = hold(self.path)

    def remove_if_empty(self) -> None:
        """Empty the folder of a run that was refused before it wrote anything, and remove what this process made of it.

        The lock must be held. A folder that was renamed meanwhile is left alone.
        """
        if not self.path.is_dir():
            return
        made = [file for file in self.path.rglob("*") if file.is_file() and file.name not in RECORD_FILES]
        if any(file.stat().st_size for file in made):
            return
        # The record and the lock last: until then another process finds a run folder that is in use.
        others = [each for each in self.path.iterdir() if each.name not in RECORD_FILES]
        for each in (*others, *(self.path / name for name in RECORD_FILES)):
            shutil.rmtree(each) if each.is_dir() else each.unlink(missing_ok=True)
        with suppress(OSError):
            for folder in self._made:
                folder.rmdir()

    @property
    def config(self) -> Configuration:
        # An older version evaluated the first problems of a file.
        return check({"limit_order": "file"} | self.record.configuration)

    @property
    def report(self) -> Path:
        return self.path / "report" / "index.html"

    @property
    def adapter(self) -> Path:
        return self.path / "train" / "adapter"

    @property
    def sft_folder(self) -> Path:
        """What SFT leaves: a folder like train/, with the adapter that GRPO continues from."""
        return self.path / "train" / "sft"

    def adapter_of(self, side: str) -> str | None:
        """The adapter of a side; None for the base model alone. Raises UserError if it was changed after training."""
        if side == BASE:
            return None
        if self.config.adapter:
            return self.config.adapter
        adapter = self.sft_folder / "adapter" if side == "sft" else self.adapter
        self.hashes.verify(adapter)
        return str(real_path(adapter))

    def check_done(self, stage: str) -> None:
        """Compare the files of a stage that is done. Raises UserError if one was changed or is gone."""
        self.hashes.verify(*(self.path / place for place in STAGES[stage].writes))

    def take_over(self, other: "Run", stage: str, places: Sequence[str]) -> None:
        """Copy a finished stage of another run, its files at or below `places`, and mark it as done here."""
        files = [name for name in other.hashes.stored() if any(Path(name).is_relative_to(each) for each in places)]
        other.hashes.verify(*(other.path / name for name in files))
        for name in files:
            write_bytes(self.path / name, (other.path / name).read_bytes())
        self.hashes.add(*(self.path / name for name in files))
        self.record.mark(stage, "done", 0.0, other.record.provenance.get(stage, {}), other.record.ended(stage))

    def discard(self, side: str) -> None:
        """Remove a side, which is to be made again."""
        shutil.rmtree(self.path / side, ignore_errors=True)
        with self.record.changing() as record:
            files = record.get("files", {})
            record["files"] = {name: sha for name, sha in files.items() if not Path(name).is_relative_to(side)}
            for part in ("stages", "provenance"):
                record[part].pop(side, None)

    def finished_sides(self) -> list[str]:
        """The sides with all their completions. Raises UserError if there is none, or if completions are gone."""
        done = [side for side in SIDES if self.record.is_done(side)]
        for side in done:
            if not self.has_completions(side):
                self.hashes.verify(self.path / side / "completions.jsonl")
                raise UserError(f"{self.path / side}: its replies are gone: run again with --fresh")
        if not done:
            raise UserError(f"{self.path}: no finished evaluation: run `harness eval` or `harness run` first")
        return done

    def has_completions(self, side: str) -> bool:
        """Whether a side's journal holds anything."""
        journal = self.path / side / "completions.jsonl"
        return journal.is_file() and journal.stat().st_size > 0

    def generated(self, side: str) -> datetime | None:
        """When a side had its last completion, in UTC: by the record, or by the journal's own time in an older run.

        None where neither is there. Raises UserError if the record's date is none.
        """
        if ended := self.record.ended(side):
            return ended
        journal = self.path / side / "completions.jsonl"
        if journal.is_symlink() or not journal.is_file():
            return None
        return datetime.fromtimestamp(journal.stat().st_mtime, UTC)

    def completions(self, side: str) -> list[Completion]:
        """The completions of a side, as far as it has come, in the dataset's order."""
        path = self.path / side / "completions.jsonl"
        self.hashes.verify(path)
        return result_files.read_completions(path)

    def metrics(self, side: str) -> dict[str, MetricValue]:
        """A side's metrics. Raises UserError if there are none, or if they are damaged."""
        file = self.path / side / "metrics.json"
        self.hashes.verify(file)
        if not file.is_file():
            raise UserError(f"{file.parent}: no scored evaluation here: run `harness run` or `harness score` first")
        return result_files.read_metrics(file)

    def evaluation(self, side: str) -> Evaluation:
        """One scored side. Raises UserError if there is none, or if its files do not belong together."""
        folder, metrics = self.path / side, self.metrics(side)
        self.hashes.verify(folder / "scores.jsonl")
        record, completions = self.record.read(), self.completions(side)
        scores = result_files.read_scores(folder / "scores.jsonl")
        if scores.keys() != {each.place for each in completions}:
            raise UserError(
                f"{folder}: {len(completions)} replies and {len(scores)} scores that do not belong together: score "
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

    def evaluations(self) -> list[Evaluation]:
        """Every finished side, in order."""
        # Millions of small objects that all stay: the garbage collector would go through them again and again.
        gc.disable()
        try:
            return [self.evaluation(side) for side in SIDES if self.record.is_done(side)]
        finally:
            gc.enable()

    def chosen_evaluations(self, side: str | None) -> list[Evaluation]:
        """All finished sides, or the one that is named. Raises UserError if there is none."""
        if side is None:
            self.finished_sides()
            return self.evaluations()
        if not self.record.is_done(side):
            raise UserError(f"{self.path / side}: this side is not finished: finish the run, or name another side")
        return [self.evaluation(side)]

    def comparison(self) -> dict:
        """comparison.json as Comparison.as_dict() made it. Raises UserError if it is damaged."""
        file, fix = self.path / "comparison.json", f"make it again with `harness score {self.path}`"
        self.hashes.verify(file)
        # An older version may have written neither.
        return {"warnings": [], "others": []} | validation.read(Comparison, file, fix)

    def write_scores(self, side: str, scores: Sequence[Score], metrics: Mapping[str, MetricValue]) -> None:
        """Write a side's scores.jsonl and metrics.json, and the hashes of all its files."""
        # They hold plain values only; asdict() would copy them for more than the rest costs.
        _, scores_file, metrics_file = files = [self.path / side / name for name in SIDE_FILES]
        validation.write_rows(Score, scores_file, map(vars, scores))
        validation.write(dict[str, MetricValue], metrics_file, {name: vars(each) for name, each in metrics.items()})
        self.hashes.add(*files)

    def write_comparison(self, comparison: Comparison) -> None:
        validation.write(Comparison, self.path / "comparison.json", comparison.as_dict())
        self.hashes.add(self.path / "comparison.json")

    def seeds(self) -> dict[str, OverSeeds] | None:
        """The differences over several trainings, by metric; None if the run has none."""
        file = self.path / "seeds.json"
        self.hashes.verify(file)
        return result_files.read_seeds(file, f"run `harness report {self.path}`") if file.is_file() else None

    def extra_task_differences(self) -> dict | None:
        """The differences of lm-eval's tasks; None if the run has none."""
        file = self.path / "also" / "comparison.json"
        self.hashes.verify(file)
        return result_files.read_extra_task_differences(file) if file.is_file() else None


def _name_for_old(path: Path) -> Path:
    """A folder's name with the time of now, and a number where two are renamed within a second."""
    name = f"{path.name}.{datetime.now(UTC):%Y%m%d-%H%M%S}"
    names = chain([name], (f"{name}-{number}" for number in count(2)))
    return next(each for each in map(path.with_name, names) if not each.exists())
