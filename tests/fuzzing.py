"""What the fuzz tests draw from, how many cases each gets, and what every case has to come to."""

import io
import json
import re
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from harness.cli import exit_code_of
from harness.cli.app import app

# How many cases a test draws in the profile ci; nightly draws NIGHTLY times as many.
CASES = {
    "data: bytes": 700,
    "data: rows": 700,
    "data: samples": 400,
    "data: logs": 200,
    "data: evaluated": 40,
    "recipes: text": 700,
    "recipes: keys": 500,
    "recipes: settings": 300,
    "rewards: replies": 700,
    "rewards: batches": 500,
    "runs: sides": 400,
    "runs: commands": 60,
    "runs: the page of all": 100,
    "runs: baselines": 200,
    "runs: reports": 20,
    "adapters: settings": 400,
    "adapters: weights": 300,
    "records: objects": 60,
    "records: rows": 60,
    "records: journal": 60,
    "records: scores": 60,
    "records: seeds": 60,
    "records: run.json": 60,
    "records: training log": 60,
    "records: probes": 60,
}
NIGHTLY = 20
TOO_DEEP = 2000
JSON_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?|true|false|null|[\[\]{}:,]')

ODD_TEXTS = (
    "", " ", "\n", "\r\n", "\x00", "\x1b[31m", "\u202e", "\u2028", "\ud800", "\ufeff", "a\nb", "nan", "inf", "72", "-1",
    "1,000", "1e999", "1/0", "٧٢", "²", "####", "#### 72", "\\boxed{7}", "\\frac{1}{0}", "$x^2$", "x^{9^{9}}",
    "<think>", "</think>", "<SOLUTION>", "default", "none", "../..", "/", "~", "a.py", "a\x00.py", "a.jinja",
    "{{", "x" * 5000,
)  # fmt: skip
ODD_NUMBERS = (
    0, 1, -1, 2, 2**31, 2**53 + 1, 2**63, 2**64, -(2**63) - 1, 10**30, 10**400, 0.0, -0.0, 0.5, 1e-320, 1e308,
    float("nan"), float("inf"), float("-inf"),
)  # fmt: skip
ODD_BYTES = (
    b"\x00", b"\xff", b"\xef\xbb\xbf", b"\r\n", b"\r", b"\n", b'"', b",", b"{", b"]", b"\\", b"\\ud800", b"NaN",
    b"1e999", b"-Infinity", b"9" * 5000, b"[" * TOO_DEEP, b'{"a":' * TOO_DEEP, b"null",
)  # fmt: skip

texts = st.one_of(st.sampled_from(ODD_TEXTS), st.text(st.characters(), max_size=12))
scalars = st.one_of(st.none(), st.booleans(), st.sampled_from(ODD_NUMBERS), st.integers(), st.floats(), texts)
values = st.one_of(
    scalars,
    st.recursive(
        scalars,
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
        max_leaves=6,
    ),
)


def cases(name: str) -> settings:
    """The settings of a test that draws its share of the cases."""
    return settings(
        max_examples=CASES[name] * settings.get_profile(settings.get_current_profile_name()).max_examples // 100,
        # Each try of a smaller folder costs what a case does, and its fault is small already.
        phases=[phase for phase in Phase if not (name.startswith("runs") and phase in (Phase.shrink, Phase.explain))],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
    )


def ends_in_order(command: Callable[[], int | None], *codes: int) -> int:
    """Run it as the command line would: its exit code is 0, one of `codes`, or 2 with one line that can be shown."""
    said = io.StringIO()
    with redirect_stdout(io.StringIO()), redirect_stderr(said):
        code = exit_code_of(command)
    *lines, end = said.getvalue().split("\n")
    assert code in (0, 2, *codes), said.getvalue()
    assert not end
    assert all(map(str.isprintable, lines)), said.getvalue()
    assert [line.startswith("harness: ") for line in lines].count(True) == (code == 2)
    assert code != 2 or lines[-1].startswith("harness: ")
    return code


def typed(*words: str | Path, codes: tuple[int, ...] = ()) -> int:
    """A whole command line, in this process."""
    return ends_in_order(lambda: app([*map(str, words)], standalone_mode=False), *codes)


def as_json(value: Any, ascii_only: bool = True) -> bytes:
    return json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")


@st.composite
def mutated(draw: st.DrawFn, content: bytes) -> bytes:
    """`content` with a few faults: cut off, bytes put in, taken out or repeated, a JSON word replaced by another."""
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(content)))
        kind = draw(st.sampled_from(("word", "word", "put in", "take out", "repeat", "cut", "replace", "random")))
        if kind == "word":
            words = list(JSON_TOKEN.finditer(content))
            if words:
                word = words[place % len(words)]
                content = content[: word.start()] + as_json(draw(values)) + content[word.end() :]
        elif kind == "put in":
            content = content[:place] + draw(st.sampled_from(ODD_BYTES)) + content[place:]
        elif kind == "take out":
            content = content[:place] + content[place + draw(st.integers(1, 40)) :]
        elif kind == "repeat":
            content = content[:place] + content[place : place + draw(st.integers(1, 200))] * 2 + content[place:]
        elif kind == "cut":
            content = content[:place]
        elif kind == "replace":
            content = content[:place] + draw(st.sampled_from(ODD_BYTES)) + content[place + 1 :]
        else:
            content = content[:place] + draw(st.binary(max_size=8)) + content[place:]
    return content


@st.composite
def changed(draw: st.DrawFn, value: Any) -> Any:
    """A JSON value like `value`, in which one inner value is another, is gone, or has another name."""
    if isinstance(value, dict) and value and draw(st.integers(0, 4)):
        key = draw(st.sampled_from(sorted(value)))
        kind = draw(st.sampled_from(("in", "in", "in", "gone", "renamed")))
        if kind == "in":
            return value | {key: draw(changed(value[key]))}
        rest = {name: each for name, each in value.items() if name != key}
        return rest if kind == "gone" else rest | {draw(texts): value[key]}
    if isinstance(value, list) and value and draw(st.integers(0, 4)):
        place = draw(st.integers(0, len(value) - 1))
        kind = draw(st.sampled_from(("in", "in", "in", "gone", "twice")))
        middle = {"in": lambda: [draw(changed(value[place]))], "gone": list, "twice": lambda: [value[place]] * 2}[
            kind
        ]()
        return [*value[:place], *middle, *value[place + 1 :]]
    return draw(values)
