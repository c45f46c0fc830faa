"""The reward functions of every preset, in TRL's calling convention, in two variants.

`tutorial` pays what the tutorials' own functions pay, oddities included; `robust` is the one to train with. Each
function takes keyword lists (prompts, completions, answer, …) and returns a float a completion, or None, which TRL
leaves out, where a row cannot be scored. None of them prints.
"""

from collections.abc import Callable
from dataclasses import dataclass

from harness import registry
from harness.answers import Unscorable
from harness.formats import FORMATS
from harness.rewards import robust, tutorial
from harness.types import Equality, Format

Reward = Callable[..., list[float | None]]


@dataclass(frozen=True)
class Preset:
    """A set of reward functions.

    `format`: whose replies it reads; `eos`: the end of a turn in the tutorial's model; `prefix`: what the tutorial's
    prompt ends with of the reply.
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


def functions(
    preset: str,
    variant: str = "robust",
    *,
    eos: str | None = None,
    format: Format | None = None,
    equality: Equality = "number",
    language: str | None = None,
    prefix: str | None = None,
) -> list[Reward]:
    """The reward functions of a preset, in its order, ready for TRL's `reward_funcs`.

    `eos` is the token that the tutorial's qwen3 layout allows at the end. The others are for `robust`: the format and
    the target language where they are not the preset's own, how answers compare, and `prefix`, what your prompts
    already end with of the reply (the opening reasoning tag, or nothing), where that is not as in the tutorial.
    """
    chosen = PRESETS[registry.choose("reward preset", preset, PRESETS)]
    registry.choose("reward variant", variant, VARIANTS)
    if variant == "tutorial":
        pays = tutorial.pays(preset, chosen.eos if eos is None else eos)
        return [_tutorial_reward(name, pay) for name, pay in pays.items()]
    pays = robust.pays(preset, format or FORMATS[chosen.format], equality, language or "id")
    opened = chosen.prefix if prefix is None else prefix
    return [_robust_reward(name, pay, opened) for name, pay in pays.items()]


def _robust_reward(name: str, pay: Callable[[str, str | None], float], prefix: str) -> Reward:
    def reward(prompts, completions, answer, **_):
        return [
            _paid(lambda text, truth: pay(prefix + text, truth), content_of(completion), truth)
            for completion, truth in zip(completions, answer, strict=True)
        ]

    reward.__name__ = name
    return reward


def _tutorial_reward(name: str, pay: Callable[[str, str], float]) -> Reward:
    def reward(prompts, completions, answer=(), **_):
        if name not in tutorial.READ_THE_ANSWER:
            return [_paid(pay, content_of(completion), None) for completion in completions]
        # The tutorials pair replies and answers as far as the shorter list goes.
        pairs = zip(completions, answer, strict=False)
        return [_paid(pay, content_of(completion), truth) for completion, truth in pairs]

    reward.__name__ = name
    return reward


def _paid(pay: Callable, content: object, truth: str | None) -> float | None:
    try:
        return pay(content, truth)
    except Unscorable:
        return None
    except (TypeError, AttributeError, KeyError):
        if isinstance(content, str):
            raise
        return None  # a completion that is no text is the caller's data, not our bug


def content_of(completion: object) -> object:
    """What a completion says: the text itself, or the content of the first of TRL's messages."""
    if not isinstance(completion, list):
        return completion
    return completion[0].get("content") if completion and isinstance(completion[0], dict) else None
