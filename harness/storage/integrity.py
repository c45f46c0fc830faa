"""Whether a run's finished files are still as they were written."""

from pathlib import Path

from harness.errors import UserError
from harness.memory import fits_memory
from harness.storage.files import sha256
from harness.storage.run_record import RunRecord

# The command that makes a lost or changed file again; files that are not listed cannot be made from the rest.
COMMAND_FOR = {"scores.jsonl": "score", "metrics.json": "score", "comparison.json": "report", "seeds.json": "report"}


class FileHashes:
    """The SHA-256 of each finished file of a run folder, stored in run.json by the file's place in the folder."""

    def __init__(self, folder: Path, record: RunRecord):
        self._folder, self._record = folder, record

    def stored(self) -> dict[str, str]:
        """The hashes by place. A run of an older version has none."""
        return self._record.read().get("files", {})

    def add(self, *files: Path) -> None:
        """Store the hashes of files that are finished, as far as they exist."""
        hashes = {str(file.relative_to(self._folder)): sha256(file) for file in files if file.is_file()}
        with self._record.changing() as record:
            record["files"] = record.get("files", {}) | hashes

    def verify(self, *places: Path) -> None:
        """Compare the files at or below `places` with their hashes. Raises UserError if one was changed or is gone."""
        for name, expected in self.stored().items():
            file = self._folder / name
            if any(file.is_relative_to(place) for place in places) and not _has(file, expected):
                raise UserError(f"{file}: {self._problem_and_fix(file)}")

    def _problem_and_fix(self, file: Path) -> str:
        problem = "was changed after it was written" if file.is_file() else "is gone"
        command = COMMAND_FOR.get(file.name)
        fix = f"run `harness {command} {self._folder}`" if command else "bring it back, or start over with --fresh"
        return f"{problem}: {fix}"


def _has(file: Path, expected: str) -> bool:
    # Whoever asks reads the file next; hashing gigabytes that cannot be read would only take minutes.
    with fits_memory(file):
        return file.is_file() and sha256(file) == expected
