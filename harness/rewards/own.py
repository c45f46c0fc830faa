"""A user's own reward functions, out of a Python file that was named by its path."""

import contextlib
import hashlib
import importlib.abc
import importlib.util
import inspect
import io
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

from harness.errors import UserError, cause
from harness.rewards.reward_scores import EMPTY, NO_TEXT, RewardScores
from harness.storage.links import real_path
from harness.storage.validation import LARGEST_NUMBER

TRL_ONLY = {"trainer_state": None, "log_extra": lambda *_: None, "log_metric": lambda *_: None}


class OwnRewards:
    """A user's functions, called as TRL calls them, one completion at a time.

    `plain`: completions are handed over as text, not as messages.
    """

    format = None

    def __init__(self, functions: Sequence[Callable], plain: bool):
        names = [getattr(function, "__name__", type(function).__name__) for function in functions]
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise UserError(f"two reward functions are called {twice[0]}: give each a name of its own")
        self.functions, self.plain = dict(zip(names, functions, strict=True)), plain

    @property
    def names(self) -> list[str]:
        return list(self.functions)

    def score(self, completion: object, answer: object, columns: Mapping[str, object] = EMPTY) -> RewardScores:
        """Score one completion. A function that raises, or returns no number, leaves it unscored with that reason."""
        if not isinstance(completion, str):
            return RewardScores(dict.fromkeys(self.names), dict.fromkeys(self.names, NO_TEXT), {}, None)
        prompt = columns.get("prompt") or ""
        if not self.plain:
            completion = [{"role": "assistant", "content": completion}]
            prompt = prompt if isinstance(prompt, list) else [{"role": "user", "content": prompt}]
        row = columns | {"prompts": prompt, "completions": completion, "answer": answer}
        batch = {name: [value] for name, value in row.items() if name != "prompt"} | TRL_ONLY
        scores, reasons = {}, {}
        for name, function in self.functions.items():
            scores[name], reason = _call(function, batch)
            if reason:
                reasons[name] = reason
        whys = {name: "as the function returned it" for name, value in scores.items() if value is not None}
        return RewardScores(scores, reasons, whys, None)


class _AsRead(importlib.abc.SourceLoader):
    """Runs the very source that was hashed, not what is in the file by now, nor what Python compiled of it before."""

    def __init__(self, path: Path, source: bytes):
        self.path, self.source = path, source

    def get_filename(self, fullname: str) -> str:
        return str(self.path)

    def get_data(self, path: str) -> bytes:
        return self.source


@cache
def own_rewards(path: Path, sha: str) -> OwnRewards:
    """The functions of a run's file, loaded once by each of its processes, so that all of them score by the same code.

    `sha` is the SHA-256 of the file as the run knows it, '' for whatever is there now. Raises UserError as
    load_own does.
    """
    return load_own(path, plain=False, sha=sha)


def load_own(path: Path, plain: bool, sha: str = "") -> OwnRewards:
    """Run a file and take its public functions that have a parameter `completions`, in the file's order.

    Raises UserError if the file cannot be run, has no such function, or has another SHA-256 than `sha`.
    """
    if not path.is_file():
        raise UserError(f"--preset {path}: no such file: give a Python file with reward functions")
    try:
        source = path.read_bytes()
    except OSError as error:
        raise UserError(f"--preset {path}: cannot be read ({error.strerror}): give a readable file") from error
    if sha not in ("", hashlib.sha256(source).hexdigest()):
        raise UserError(f"{path}: changed since the run was started: bring it back, or start over with --fresh")
    name = f"rewards_of_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path, loader=_AsRead(path, source))
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    # At the end, so that the user's folder cannot shadow a library; it stays, for imports inside functions.
    sys.path.append(str(real_path(path).parent))
    try:
        with _silence():
            spec.loader.exec_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever the user's own code raises, an exit included
        raise UserError(f"--preset {path}: {_cause(error, path)}: fix the file") from error
    functions = [each for each in vars(module).values() if _is_reward(each, name)]
    if not functions:
        raise UserError(f"--preset {path}: no public function there takes `completions`: write them as TRL calls them")
    for function in functions:
        if inspect.iscoroutinefunction(function):
            raise UserError(f"--preset {path}: {function.__name__} is async: only plain functions can be checked")
    return OwnRewards(functions, plain)


def _is_reward(value: object, module: str) -> bool:
    return (
        inspect.isfunction(value)
        and value.__module__ == module
        and not value.__name__.startswith("_")
        and "completions" in inspect.signature(value).parameters
    )


def _silence() -> contextlib.redirect_stdout:
    """A stdout that takes every text and drops it."""
    return contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="replace"))


def _call(function: Callable, batch: dict[str, object]) -> tuple[float | None, str | None]:
    try:
        with _silence():
            values = list(function(**batch))
            value = float(values[0]) if len(values) == 1 and values[0] is not None else None
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # the user's own code: what it raises is a finding about this row
        return None, f"raised {type(error).__name__}: {_message(error)}"
    if len(values) != 1:
        return None, f"returned {len(values)} values for one completion"
    if value is None:
        return None, "returned None"
    if not abs(value) < LARGEST_NUMBER:
        return None, f"returned {value}"
    return value, None


def _cause(error: BaseException, path: Path) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if real_path(frame.filename) == real_path(path)]
    line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
    where = f"line {line}: " if line else ""
    return f"{where}{type(error).__name__}: {_message(error)}"


def _message(error: BaseException) -> str:
    try:
        return cause(error, 200)
    except BaseException:  # an exception of the user's may fail even at being printed
        return "(its message cannot be read)"
