"""The reward functions as the trainer calls them: checked, recorded, and followed by the accuracy."""

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from harness.errors import UserError, cause
from harness.evaluation.scoring import score_accuracy
from harness.rewards import Reward, finished_within
from harness.rewards.own import own_rewards
from harness.storage.files import cut_journal, json_line
from harness.types import ACCURACY_STRICT, Equality, Format


def accuracy_function(
    format: Format, equality: Equality, prefix: str, limit: int, metric: str = ACCURACY_STRICT
) -> Reward:
    """A metric as a reward function, recorded beside the rewards with weight 0.

    A completion of `limit` tokens was cut off.
    """

    def accuracy(completions, answer, completion_ids=None, **_):
        ended = finished_within(limit, completion_ids, len(completions))
        return [
            score_accuracy(prefix + completion[0]["content"], truth, format, equality, finished)[metric]
            for completion, truth, finished in zip(completions, answer, ended, strict=True)
        ]

    accuracy.__name__ = metric
    return accuracy


class Rollouts:
    """Records the first prompt's completions of every step with the score of each reward function.

    `functions` are the given ones, each checked to return one finite number (or None) per completion; the last is the
    accuracy. Completions of held-out problems, whose number is in a column `held_out`, are not recorded, but the values
    of `correct` are kept until they are taken; `keeps` is False in all but the first of several processes.
    """

    def __init__(
        self, path: Path, done: int, functions: Sequence[Reward], generations: int, keeps: bool, correct: Reward
    ):
        self.path, self.generations, self.keeps, self.correct = path, generations, keeps, correct
        self._held_out_scores: dict[int, float | None] = {}
        self.functions = [self._recorded(function, function is functions[-1]) for function in functions]
        self._scores: dict[str, list] = {}
        if keeps:
            cut_journal(path, done)

    def _recorded(self, function: Reward, is_last: bool) -> Reward:
        def recorded(prompts, completions, answer, trainer_state, held_out=None, **rest):
            columns = {"prompts": prompts, "completions": completions, "answer": answer, "trainer_state": trainer_state}
            values = _checked(function.__name__, function(**columns, **rest), len(completions))
            self._scores[function.__name__] = values
            if is_last and held_out is not None:
                self._held_out_scores |= zip(held_out, self.correct(**columns, **rest), strict=True)
            elif is_last and self.keeps:
                self._write(trainer_state.global_step + 1, prompts, completions, answer)
            return values

        recorded.__name__ = function.__name__
        return recorded

    def take_probe(self) -> list[float | None]:
        """Whether each held-out problem was answered correctly since the last call, in their order.

        All processes have to call it at the same time: each has its own part.
        """
        from accelerate.utils import gather_object

        whole = dict(pair for part in gather_object([list(self._held_out_scores.items())]) for pair in part)
        self._held_out_scores = {}
        return [whole[number] for number in sorted(whole)]

    def _write(self, step: int, prompts: list, completions: list, answer: list) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            for place in range(min(self.generations, len(completions))):
                scores = {name: values[place] for name, values in self._scores.items()}
                accuracy = scores.pop(ACCURACY_STRICT)
                row = {
                    "step": step,
                    "question": prompts[place][-1]["content"],
                    "answer": answer[place],
                    "text": completions[place][0]["content"],
                    "rewards": scores,
                    "accuracy": accuracy,
                }
                file.write(json_line(row))


def own_functions(path: Path, sha: str) -> list[Reward]:
    """A user's reward functions, of a file with this SHA-256. They raise UserError for any error of theirs."""
    functions = own_rewards(path, sha).functions
    if ACCURACY_STRICT in functions:
        raise UserError(f"{path}: {ACCURACY_STRICT} is the metric's own name: give your reward function another name")
    return [_named(name, function) for name, function in functions.items()]


def _named(name: str, function: Callable) -> Reward:
    def called(**columns):
        try:
            return list(function(**columns))
        except Exception as error:  # a user's own code may raise anything
            message = f"{type(error).__name__}: {cause(error, 200)}"
            raise UserError(f"reward {name} raised {message}: fix the function") from error

    called.__name__ = name
    return called


def _checked(name: str, values: Iterable, count: int) -> list[float | None]:
    """A function's values. Raises UserError if they are not one finite number or None for each completion."""
    listed = list(values)
    if len(listed) != count:
        raise UserError(f"reward {name} returned {len(listed)} values for {count} completions: fix the function")
    return [None if value is None else _number(name, value) for value in listed]


def _number(name: str, value: object) -> float:
    try:
        number = float(value) if not isinstance(value, str) else math.nan
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise UserError(
            f"reward {name} returned {value!r:.40}: return finite numbers, or None for what cannot be scored"
        )
    return number
