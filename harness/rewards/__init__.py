"""The reward functions of every preset, in TRL's calling convention, in two variants.

`tutorial` scores as the tutorials' own functions do, oddities included; `robust` is the one to train with. Each
function takes keyword lists (prompts, completions, answer, …) and returns a float per completion, or None, which TRL
leaves out, where a row cannot be scored. None of them prints or raises.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from harness import registry
from harness.parsing.answers import NO_TRUTH, Unscorable
from harness.parsing.named_formats import FORMATS
from harness.rewards import robust, tutorial
from harness.rewards.reward_scores import EMPTY, NO_TEXT, Reward, RewardScore, RewardScores
from harness.types import CUT_OFF, Equality, Format


@dataclass(frozen=True)
class Preset:
    """A set of reward functions.

    `format`: of the completions that it reads; `eos`: the end of a turn in the tutorial's model; `prefix`: how the
    tutorial's prompt begins the reply.
    """

    format: str
    eos: str
    prefix: str
    about: str


VARIANTS = ("robust", "tutorial")
PRESETS = {
    "gemma3": Preset("working-out", "", "", "layout, tags, answer and number, on the scale of the Gemma 3 tutorial"),
    "qwen3": Preset(
        "working-out", "<|im_end|>", tutorial.OPEN, "the same four on a harsher scale; the prompt opens the reasoning"
    ),
    "deepseek-r1": Preset("think", "", "", "the harsher scale, and the language of the reasoning"),
    "xml": Preset("xml", "", "", "tags, layout (twice), integer, correctness"),
}


@dataclass(frozen=True)
class Rewards:
    """One preset in one variant: `scorers` by name, each from a reply of `format` as `reader` reads it to its score.

    `opening` is how the prompt began a reply; a completion of `limit` tokens was cut off.
    """

    format: Format
    opening: str
    scorers: dict[str, Callable[[object], RewardScore]]
    reader: robust.Reader | tutorial.Reader
    need_truth: frozenset[str]
    limit: int | None = None

    @property
    def names(self) -> list[str]:
        return list(self.scorers)

    def score(self, completion: object, answer: object, columns: Mapping[str, object] = EMPTY) -> RewardScores:
        """Score one completion; of the other columns of its row `finish_reason` says whether it was cut off.

        Without a true answer to compare with, the functions that need one leave it unscored.
        """
        truth = self.reader.truth_of(answer)
        if not isinstance(completion, str):
            return RewardScores(dict.fromkeys(self.scorers), dict.fromkeys(self.scorers, NO_TEXT), {}, None)
        reply = self.reader(completion, truth, columns.get("finish_reason") != CUT_OFF)
        scores, reasons, whys = {}, {}, {}
        for name, scorer in self.scorers.items():
            try:
                if truth is None and name in self.need_truth:
                    raise Unscorable(
                        NO_TRUTH if answer is None else f"the true answer {_shown(answer)} is no text: write it as one"
                    )
                scores[name], whys[name] = scorer(reply)
            except Unscorable as error:
                scores[name], reasons[name] = None, str(error)
        return RewardScores(scores, reasons, whys, reply.extracted)

    @cached_property
    def functions(self) -> list[Reward]:
        """The functions in TRL's calling convention."""
        if isinstance(self.reader, tutorial.Reader):
            return [self._tutorial_function(name, scorer) for name, scorer in self.scorers.items()]

        # TRL hands one batch to each function in turn: it is read once for all of them.
        @lru_cache(maxsize=1)
        def read(texts: tuple[str | None, ...], truths: tuple[str | None, ...], finished: tuple[bool, ...]) -> list:
            return [
                None if text is None else self.reader(text, truth, whole)
                for text, truth, whole in zip(texts, truths, finished, strict=True)
            ]

        return [self._function(name, scorer, read) for name, scorer in self.scorers.items()]

    def _function(
        self, name: str, scorer: Callable[[object], RewardScore], read: Callable[..., list[object]]
    ) -> Reward:
        def reward(prompts=(), completions=(), answer=(), completion_ids=None, **_):
            texts = tuple([_last_text(completion) for completion in _listed(completions)])
            truths = [self.reader.truth_of(each) for each in _listed(answer)][: len(texts)]
            truths += [None] * (len(texts) - len(truths))
            finished = finished_within(self.limit, completion_ids, len(texts))
            return [None if reply is None else _value(scorer, reply) for reply in read(texts, tuple(truths), finished)]

        reward.__name__ = name
        return reward

    def _tutorial_function(self, name: str, scorer: Callable[[object], RewardScore]) -> Reward:
        def reward(prompts=(), completions=(), answer=(), **_):
            # The tutorials pair replies with answers as far as the shorter of both goes.
            replies = _listed(completions)
            truths = (
                map(self.reader.truth_of, _listed(answer, str)) if name in self.need_truth else [None] * len(replies)
            )
            return [
                _value(scorer, self.reader(_content(completion), truth))
                for completion, truth in zip(replies, truths, strict=False)
            ]

        reward.__name__ = name
        return reward


def load_rewards(
    preset: str,
    variant: str = "robust",
    *,
    eos: str | None = None,
    format: Format | None = None,
    equality: Equality = "number",
    language: str | None = None,
    prefix: str | None = None,
    limit: int | None = None,
) -> Rewards:
    """Load the rewards of a preset; the arguments are those of `functions`."""
    chosen = PRESETS[registry.choose("reward preset", preset, PRESETS)]
    registry.choose("reward variant", variant, VARIANTS)
    if variant == "tutorial":
        reader = tutorial.Reader(preset, chosen.eos if eos is None else eos)
        return Rewards(
            FORMATS[chosen.format], chosen.prefix, tutorial.scorers(preset), reader, frozenset(tutorial.READ_THE_ANSWER)
        )
    opening = chosen.prefix if prefix is None else prefix
    format = format or FORMATS[chosen.format]
    reader = robust.Reader(format, equality, language or "id", opening, eos)
    return Rewards(format, opening, robust.scorers(preset), reader, frozenset(robust.READ_THE_ANSWER), limit)


def functions(
    preset: str,
    variant: str = "robust",
    *,
    eos: str | None = None,
    format: Format | None = None,
    equality: Equality = "number",
    language: str | None = None,
    prefix: str | None = None,
    limit: int | None = None,
) -> list[Reward]:
    """The reward functions of a preset, in its order, ready for TRL's `reward_funcs`.

    `eos` is the token allowed at the end of a reply: the tutorial's qwen3 layout takes its model's unless told,
    `robust` any known model's beside it. The others are for `robust`: the format and the target language where they
    are not the preset's own, how answers compare, `prefix`, how your prompts begin the reply (the opening reasoning
    tag, or nothing), where that is not as in the tutorial, and `limit`, the most tokens that the trainer lets a
    completion have: one of as many counts as cut off.
    """
    return load_rewards(
        preset, variant, eos=eos, format=format, equality=equality, language=language, prefix=prefix, limit=limit
    ).functions


def finished_within(limit: int | None, completion_ids: Sequence[Sequence[int]] | None, count: int) -> tuple[bool, ...]:
    """Which completions of a batch ended by themselves, by TRL's token ids; all where those or a limit are missing.

    One whose last token of `limit` is its end token counts as cut off too.
    """
    if limit is None or completion_ids is None:
        return (True,) * count
    return tuple([len(ids) < limit for ids in completion_ids])


def _listed(values: object, *also: type) -> list:
    """A column as a list, whatever holds it; what is no column (None, a text) is an empty one."""
    return (
        list(values) if isinstance(values, Iterable) and not isinstance(values, tuple({str, bytes} - set(also))) else []
    )


def _content(completion: object) -> object:
    """A completion's text to the tutorials: itself, or the content of the first of TRL's messages."""
    if not isinstance(completion, Sequence) or isinstance(completion, str):
        return completion
    return completion[0].get("content") if completion and isinstance(completion[0], dict) else None


def _shown(answer: object) -> str:
    try:
        return f"{answer!r:.40}"
    except ValueError:  # an integer too long to write
        return "of thousands of digits"


def _last_text(completion: object) -> str | None:
    """A completion's text: itself, or the content of the last of TRL's messages."""
    if isinstance(completion, Sequence) and not isinstance(completion, str):
        last = completion[-1] if completion else None
        completion = last.get("content") if isinstance(last, dict) else None
    return completion if isinstance(completion, str) else None


def _value(scorer: Callable[[object], RewardScore], reply: object) -> float | None:
    try:
        return scorer(reply).value
    except Unscorable:
        return None
    except (TypeError, AttributeError):
        if isinstance(reply.text, str):
            raise
        return None  # a completion that is no text is the caller's data, not our bug
