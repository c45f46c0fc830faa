"""Which files of a folder belong to which split, by the words in their names.

The words are those of the `datasets` library. A file's own name decides, else the nearest folder's; a name without such
a word tells no split. Pieces of one split (`train-00000-of-00002.parquet`, `0.jsonl`) belong together.
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
# Files beside the data of a clone or a saved dataset that hold no rows.
METADATA = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")
_PIECE = re.compile(r"(?P<stem>.*?)[-_.]?(?P<number>\d+)(?:-of-(?P<count>\d+))?(?:-[0-9a-f]{16})?")


@dataclass(frozen=True)
class Parts:
    """The data files of a folder by split, None for names that tell no split; the pieces of a file are one list."""

    place: Path
    by_split: dict[str | None, list[list[Path]]]

    def of(self, split: str | None) -> list[Path]:
        """The files of a split. Raises UserError if several could be meant."""
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
        """Whether there is only one file, or one in pieces."""
        return sum(map(len, self.by_split.values())) == 1


def named(split: str) -> str:
    """The usual name of a split: `dev` is validation."""
    return next((name for name, words in WORDS.items() if split.casefold() in words), split)


def look(place: Path, config: str | None = None, split: str = ALL) -> Parts:
    """The data files at a place, a file or a folder; `split` may be one that has a name of its own.

    A hub's clone has a folder for each `config`. Raises UserError if there is no data file, if a name tells two splits,
    or if a piece is missing.
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


def choose(available: Collection[str | None], split: str, evaluated: str) -> tuple[list[str | None], bool]:
    """Which of the available splits make one, and whether `train` and `test` are still to be cut out of them.

    If there is no test split, its problems are held out of the training split, or of files that tell no split, unless
    another split is `evaluated`. Raises LookupError if there is no such split.
    """
    usual, by_name = named(split), {name and named(name): name for name in available}
    holds_out = TEST not in by_name and named(evaluated) in (TRAIN, TEST, ALL)
    if usual == ALL:
        return list(available), False
    if split in available or usual in by_name:
        return [split if split in available else by_name[usual]], usual == TRAIN and holds_out
    others = [name for name in (TRAIN, *by_name.keys() - WORDS.keys()) if name in by_name]
    if usual in (TRAIN, TEST) and TEST not in by_name and (TRAIN in others or len(others) == 1):
        return [by_name[others[0]]], holds_out
    raise LookupError(split)


def _files(folder: Path) -> list[Path]:
    """Every data file below a folder, a saved dataset's folder as one; without what is hidden or METADATA."""
    files = []
    for path in sorted(folder.rglob("*")):
        inner = path.relative_to(folder)
        if any(name.startswith(".") for name in inner.parts) or path.name in METADATA:
            continue
        if is_saved_dataset(path) or (path.suffix.lower() in SUFFIXES and path.is_file()):
            files.append(path)
    saved = [path for path in files if path.is_dir()]
    return [path for path in files if not any(each in path.parents for each in saved)]


def _split_of(name: str, words: dict[str, tuple[str, ...]], file: Path) -> str | None:
    """The split in the last part of a path that tells one."""
    for part in reversed(name.split("/")):
        spelled = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", part)
        letters = set(re.findall(r"[^\W\d_]+", spelled.casefold()))
        splits = [split for split, spellings in words.items() if letters.intersection(spellings)]
        if len(splits) > 1:
            raise UserError(f"{file}: '{part}' names {' and '.join(splits)}: rename it after one of them")
        if splits:
            return splits[0]
    return None


def _pieces_of(files: list[Path]) -> list[list[Path]]:
    """The files that are pieces of one, in order: those of one name but for a running number.

    Raises UserError if some pieces of `-of-00002` are missing.
    """
    alike = defaultdict(dict)
    for file in files:
        piece = _PIECE.fullmatch(file.stem)
        stem, count, number = (piece["stem"], piece["count"], int(piece["number"])) if piece else (file.stem, None, 0)
        alike[file.parent, stem, count, file.suffix.lower()][number, file.name] = file
    groups = []
    for (_, _, count, _), pieces in alike.items():
        numbers, in_order = [number for number, _ in sorted(pieces)], [pieces[key] for key in sorted(pieces)]
        runs = numbers in ([*range(len(numbers))], [*range(1, len(numbers) + 1)])
        if count and not (runs and len(numbers) == int(count)):
            raise UserError(f"{in_order[0]}: not all of its {int(count)} pieces are there: add the others")
        groups += [in_order] if runs else [[file] for file in in_order]
    return groups
