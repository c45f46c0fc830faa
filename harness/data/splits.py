"""Which files of a folder are of which split: by the words of their names, wherever they stand.

The words are those of the `datasets` library. A file's own name says it, else the nearest folder's; a name without such
a word says nothing. Pieces of one split (`train-00000-of-00002.parquet`, `0.jsonl`) belong together.
"""

import re
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from harness.data.tables import SUFFIXES, is_saved_dataset
from harness.errors import UserError

TRAIN, TEST, VALIDATION = "train", "test", "validation"
WORDS = {
    TRAIN: ("train", "training"),
    TEST: ("test", "testing", "eval", "evaluation"),
    VALIDATION: ("validation", "valid", "dev", "val"),
}
ALL = "all"
# What lies beside the data of a clone or a saved dataset, and holds no rows.
METADATA = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")
_PIECE = re.compile(r"(?P<stem>.*?)[-_.]?(?P<number>\d+)(?:-of-(?P<count>\d+))?(?:-[0-9a-f]{16})?")


@dataclass(frozen=True)
class Parts:
    """The data files of a place by split, those whose names tell none under None; pieces of one file are one list."""

    place: Path
    by_split: dict[str | None, list[list[Path]]]

    def of(self, split: str | None) -> list[Path]:
        """The files of a split; a UserError where it is not clear which those are."""
        groups = self.by_split[split]
        kinds = {(group[0].parent, group[0].suffix.lower()) for group in groups}
        if len(groups) > 1 and (split or len(kinds) > 1):
            names = " or ".join(str(group[0].relative_to(self.place)) for group in groups)
            raise UserError(
                f"{self.place}: {f'split {split!r}' if split else 'its data'} may be {names}: name one of them, or "
                "leave only one there"
            )
        return [file for group in groups for file in group]

    @property
    def is_one(self) -> bool:
        """Whether there is but one file, or one in pieces."""
        return sum(map(len, self.by_split.values())) == 1


def named(split: str) -> str:
    """The split that a word stands for: `dev` is validation."""
    return next((name for name, words in WORDS.items() if split.casefold() in words), split)


def look(place: Path, config: str | None = None, split: str = ALL) -> Parts:
    """The data files at a place, a file or a folder; `split` may be one that has a name of its own.

    A hub's clone has a folder for each `config`. UserError: no data file there, a name of two splits, a piece missing.
    """
    words = WORDS if split == ALL or named(split) in WORDS else WORDS | {split: (split.casefold(),)}
    if place.is_file() or is_saved_dataset(place):
        return Parts(place.parent, {_split_of(place.name, words, place): [[place]]})
    place = place / config if config and (place / config).is_dir() else place
    by_split: dict[str | None, list[Path]] = defaultdict(list)
    for file in _files(place):
        by_split[_split_of(file.relative_to(place).as_posix(), words, file)].append(file)
    if not by_split:
        raise UserError(f"{place}: no {', '.join(SUFFIXES)} file in this folder: name the folder that has them")
    return Parts(place, {name: _pieces_of(files) for name, files in by_split.items()})


def choose(there: Collection[str | None], split: str, evaluated: str) -> tuple[list[str | None], bool]:
    """Which of the splits that are there make one, and whether `train` and `test` are still to be cut out of them.

    Where there is no test split, its problems are held out of the training split, or of what tells no split, unless
    another split is `evaluated`. LookupError: there is no such split.
    """
    wanted, by_name = named(split), {name and named(name): name for name in there}
    holds_out = TEST not in by_name and named(evaluated) in (TRAIN, TEST, ALL)
    if wanted == ALL:
        return list(there), False
    if split in there or wanted in by_name:
        return [split if split in there else by_name[wanted]], wanted == TRAIN and holds_out
    others = [name for name in (TRAIN, *by_name.keys() - WORDS.keys()) if name in by_name]
    if wanted in (TRAIN, TEST) and TEST not in by_name and (TRAIN in others or len(others) == 1):
        return [by_name[others[0]]], holds_out
    raise LookupError(split)


def _files(folder: Path) -> list[Path]:
    """Every data file below a folder, a saved dataset's folder as one; without what is hidden or METADATA."""
    found = []
    for path in sorted(folder.rglob("*")):
        inner = path.relative_to(folder)
        if any(name.startswith(".") for name in inner.parts) or path.name in METADATA:
            continue
        if is_saved_dataset(path) or (path.suffix.lower() in SUFFIXES and path.is_file()):
            found.append(path)
    saved = [path for path in found if path.is_dir()]
    return [path for path in found if not any(each in path.parents for each in saved)]


def _split_of(name: str, words: dict[str, tuple[str, ...]], file: Path) -> str | None:
    """The split that the last of a path's names tells which tells one."""
    for part in reversed(name.split("/")):
        spelled = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", part)
        found = set(re.findall(r"[^\W\d_]+", spelled.casefold()))
        splits = [split for split, known in words.items() if found.intersection(known)]
        if len(splits) > 1:
            raise UserError(f"{file}: '{part}' names {' and '.join(splits)}: rename it after one of them")
        if splits:
            return splits[0]
    return None


def _pieces_of(files: list[Path]) -> list[list[Path]]:
    """The files that are pieces of one, in order: those of one name but for a running number.

    UserError: of `-of-00002` there are not two.
    """
    alike = defaultdict(dict)
    for file in files:
        piece = _PIECE.fullmatch(file.stem)
        stem, count, number = (piece["stem"], piece["count"], int(piece["number"])) if piece else (file.stem, None, 0)
        alike[file.parent, stem, count, file.suffix.lower()][number, file.name] = file
    groups = []
    for (_, _, count, _), pieces in alike.items():
        numbers, found = [number for number, _ in sorted(pieces)], [pieces[key] for key in sorted(pieces)]
        runs = numbers in ([*range(len(numbers))], [*range(1, len(numbers) + 1)])
        if count and not (runs and len(numbers) == int(count)):
            raise UserError(f"{found[0]}: not all of its {int(count)} pieces are there: bring the others")
        groups += [found] if runs else [[file] for file in found]
    return groups
