"""All replies as data on a page, for its script to search, filter and show side by side."""

import base64
import gzip
import json
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import zip_longest

import numpy as np

from harness.statistics.breakdown import total_rewards
from harness.types import ACCURACY_FLEXIBLE, Completion, Evaluation, Score

LARGEST = 6_000_000
TEMPLATES = resources.files("reports") / "templates"
SCRIPTS = ("texts", "words", "exports", "explorer")
SCRIPT = "\n".join((TEMPLATES / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS)
CORRECT, IN_FORMAT, CORRECT_IN_FORMAT, CUT_OFF, UNSCORED = 1, 2, 4, 8, 16
Place = tuple[str, int]
REWARD, ALL_REWARDS = "reward/", "all together"
CHANGES = ("gained", "lost", "both", "neither")


@dataclass(frozen=True)
class Explorer:
    """The packed data (base64 of gzipped JSON), how many rows of all are in it, and the choices of its filters."""

    data: str
    shown: int
    total: int
    changes: dict[str, int]
    kinds: tuple[str, ...]
    languages: tuple[str, ...]
    rewards: tuple[str, ...]


def pack(sides: Sequence[Evaluation]) -> Explorer:
    """Pack the replies of all sides by problem: gained and lost ones first, as many as LARGEST bytes hold.

    The JSON: {sides: [name], rewards: [name], rows: [[question, answer, kind, change, [reply of each side or null],
    problem, index]]}; a reply is [text, extracted, flags, language, tokens, [reward of each name] or null, high for a
    wrong one, low for a correct one]. The first reward is the sum of the others.
    """
    indexed = [_Side(side) for side in sides]
    functions = list(dict.fromkeys(name for side in sides for name in side.metrics if name.startswith(REWARD)))
    rewards = (ALL_REWARDS, *(name.removeprefix(REWARD) for name in functions)) if functions else ()
    places = dict.fromkeys(place for side in indexed for place in side.at)
    changes = {place: _change(indexed, place) for place in places}
    gained, lost = ([place for place, each in changes.items() if each == change] for change in CHANGES[:2])
    # Turn by turn, so that a page that cannot hold them all has some of both.
    turns = [place for both in zip_longest(gained, lost) for place in both if place]
    chosen = dict.fromkeys([*turns, *changes])
    rows, packed, size = [], [], 0
    packer = zlib.compressobj(6, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    names = f'"sides":{json.dumps([side.name for side in sides])},"rewards":{json.dumps(rewards)}'
    packed.append(packer.compress(f'{{{names},"rows":['.encode()))
    for place in chosen:
        row = _row(indexed, place, changes[place], functions)
        packed.append(packer.compress((("," if rows else "") + json.dumps(row, separators=(",", ":"))).encode()))
        rows.append(row)
        size += len(packed[-1])
        if size > LARGEST:
            break
    packed += [packer.compress(b"]}"), packer.flush()]
    counts = Counter(row[3] for row in rows)
    replies = [reply for row in rows for reply in row[4] if reply]
    return Explorer(
        base64.b64encode(b"".join(packed)).decode(),
        len(rows),
        len(chosen),
        {change: counts[change] for change in CHANGES if counts[change]},
        tuple(sorted({row[2] for row in rows if row[2]})),
        tuple(sorted({reply[3] for reply in replies})),
        rewards if any(reply[5] for reply in replies) else (),
    )


def unpack(explorer: Explorer) -> dict:
    """The data as the page's script reads it."""
    return json.loads(gzip.decompress(base64.b64decode(explorer.data)))


class _Side:
    """One side's replies by place, and how their rewards compare with its median correct and wrong reply."""

    def __init__(self, side: Evaluation):
        self.replies = list(zip(side.completions, side.scores, strict=True))
        self.at = {completion.place: number for number, completion in enumerate(side.completions)}
        self.rewards = total_rewards(side)
        correct = np.array([score.scores.get(ACCURACY_FLEXIBLE) for score in side.scores], dtype=float)
        has_reward = ~np.isnan(self.rewards)
        hits, misses = self.rewards[has_reward & (correct == 1)], self.rewards[has_reward & (correct == 0)]
        self.high_for_wrong = (correct == 0) & (self.rewards >= (np.median(hits) if len(hits) else np.inf))
        self.low_for_correct = (correct == 1) & (self.rewards <= (np.median(misses) if len(misses) else -np.inf))

    def get(self, place: Place) -> tuple[Completion, Score] | None:
        return self.replies[self.at[place]] if place in self.at else None


def _change(sides: Sequence[_Side], place: Place) -> str:
    first, last = sides[0].get(place), sides[-1].get(place)
    if not first or not last:
        return "unpaired"
    return first[1].flip(last[1]) or "unscored"


def _row(sides: Sequence[_Side], place: Place, change: str, functions: Sequence[str]) -> list:
    completions = [side.get(place)[0] for side in sides if place in side.at]
    # A baseline file keeps no texts; another side has the same question.
    source = next((each for each in completions if each.question), completions[0])
    replies = [_reply(side, place, functions) for side in sides]
    return [source.question, source.answer, source.kind, change, replies, *place]


def _reply(side: _Side, place: Place, functions: Sequence[str]) -> list | None:
    if place not in side.at:
        return None
    number = side.at[place]
    completion, score = side.replies[number]
    if not completion.question:
        return None
    correct = score.scores.get(ACCURACY_FLEXIBLE)
    flags = (
        CORRECT * (correct == 1)
        + IN_FORMAT * (score.scores.get("format_strict") == 1)
        + CORRECT_IN_FORMAT * (score.scores.get("accuracy_strict") == 1)
        + CUT_OFF * (score.scores.get("truncated") == 1)
        + UNSCORED * (correct is None)
    )
    return [
        completion.reply,
        score.extracted,
        flags,
        score.language,
        completion.n_tokens or None,
        _rewards(float(side.rewards[number]), score, functions),
        int(side.high_for_wrong[number]),
        int(side.low_for_correct[number]),
    ]


def _rewards(total: float, score: Score, functions: Sequence[str]) -> list[float | None] | None:
    if np.isnan(total):
        return None
    values = (score.scores.get(name) for name in functions)
    return [round(total, 3), *(None if value is None else round(value, 3) for value in values)]
