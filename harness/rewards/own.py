"""A user's own reward functions, out of a Python file that was named by its path."""

import contextlib
import importlib.util
import inspect
import io
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.errors import UserError
from harness.rewards.payment import Judgement, Reward

TRL_ONLY = {"trainer_state": None, "log_extra": lambda *_: None, "log_metric": lambda *_: None}


@dataclass(frozen=True)
class OwnRewards:
    """The functions of a user's file, called as TRL calls them, a reply at a time.

    `plain`: completions are handed over as text, not as messages.
    """

    functions: list[Reward]
    plain: bool
    format: None = None

    @property
    def names(self) -> list[str]:
        return [function.__name__ for function in self.functions]

    def judge(self, completion: object, answer: object, prompt: object = "", **columns: object) -> Judgement:
        """One reply. A function that raises, or returns no number, leaves it unscored with that reason."""
        said = {"prompts": prompt, "completions": completion}
        if not self.plain:
            roles = {"prompts": "user", "completions": "assistant"}
            said = {name: [{"role": roles[name], "content": text}] for name, text in said.items()}
        row = {name: [value] for name, value in {**columns, **said, "answer": answer}.items()}
        scores, reasons = {}, {}
        for function in self.functions:
            scores[function.__name__], reason = _call(function, row)
            if reason:
                reasons[function.__name__] = reason
        whys = {name: "as the function returned it" for name, value in scores.items() if value is not None}
        return Judgement(scores, reasons, whys, None)


def load_own(path: Path, plain: bool) -> OwnRewards:
    """Every public function of the file that takes `completions`, in the file's order."""
    if not path.is_file():
        raise UserError(f"--preset {path}: no such file: give a Python file with reward functions")
    name = f"rewards_of_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.resolve().parent))
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # whatever the user's own code raises
        raise UserError(f"--preset {path}: {_cause(error, path)}: mend the file") from error
    finally:
        sys.path.pop(0)
    functions = [each for each in vars(module).values() if _is_reward(each, name)]
    if not functions:
        raise UserError(f"--preset {path}: no public function there takes `completions`: write them as TRL calls them")
    return OwnRewards(functions, plain)


def _is_reward(value: object, module: str) -> bool:
    return (
        inspect.isfunction(value)
        and value.__module__ == module
        and not value.__name__.startswith("_")
        and "completions" in inspect.signature(value).parameters
    )


def _call(function: Callable, row: dict[str, list]) -> tuple[float | None, str | None]:
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            values = function(**row, **TRL_ONLY)
    except Exception as error:  # the user's own code: what it raises is a finding about this row
        return None, f"raised {type(error).__name__}: {str(error)[:200]}"
    if not isinstance(values, list | tuple) or len(values) != 1:
        return None, f"returned {str(values)[:80]!r} for one completion, not a list of one value"
    value = values[0]
    if value is None:
        return None, "returned None"
    try:
        return float(value), None
    except (TypeError, ValueError):
        return None, f"returned {str(value)[:80]!r}, which is no number"


def _cause(error: BaseException, path: Path) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename).resolve() == path.resolve()]
    line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
    where = f"line {line}: " if line else ""
    return f"{where}{type(error).__name__}: {str(error)[:120]}"
