"""How the rewards' time grows with a reply's length, and how many replies per second they score.

    python -m baselines.rewards.benchmark

Prints Markdown. Times are of one core: the best of several repeats, the slowest degenerate reply of each kind.
"""

import platform
import random
import re
import time
from collections.abc import Callable
from datetime import date

import numpy as np

from harness.parsing.language import label, raw_label
from harness.rewards import PRESETS, VARIANTS, Reward, functions

SIZES = (1_000, 4_000, 16_000, 64_000)
REPEATS = 5
COMPLETIONS, BATCH, CHARACTERS = 20_000, 1_000, 600
LANGUAGE = "format_and_language_reward_func"
TUTORIALS_NUMBER = re.compile(r".*?\s*(-?[\d.,]+)", re.DOTALL)
TUTORIAL_SIZES = (250, 500, 1_000)

OPEN, CLOSE, SOLUTION, END = "<start_working_out>", "<end_working_out>", "<SOLUTION>", "</SOLUTION>"
BLOCK = f"{OPEN}x{CLOSE}{SOLUTION}7{END}"
# Each is repeated up to a length; (text before, repeated text, text after).
DEGENERATE = {
    "spaces": ("", " ", ""),
    "line breaks": ("", "\n", ""),
    "letters": ("", "x", ""),
    "Chinese": ("", "算", ""),
    "digits": ("", "7", ""),
    "numbers": ("", "7 ", ""),
    "dots and commas": ("", ".,", ""),
    "backslashes": ("", "\\", ""),
    "LaTeX brackets": (OPEN, "\\(", CLOSE + SOLUTION + "7" + END),
    "dollars": ("<think>", "$x", "</think>7"),
    "Chinese reasoning": ("<think>", "算", "</think>7"),
    "bracketed reasoning": ("<think>", "\\(", "</think>7"),
    "angle brackets": ("", "<", ""),
    "whole blocks": ("", f"{BLOCK} x\n", ""),
    "pairs without answer": ("", f"{OPEN}x{CLOSE}\n", ""),
    "opening tags, a line each": ("", f"{OPEN}\n", ""),
    "opening tags, one line": ("", OPEN, ""),
    "closing and answer tags": ("", CLOSE + SOLUTION, ""),
    "answer tags": ("", SOLUTION, ""),
    "an answer tag, then spaces": (SOLUTION, " ", ""),
    "a block, then spaces": (BLOCK, " ", "x"),
    "a long answer": (f"{OPEN}x{CLOSE}{SOLUTION}", "7+", END),
    "an open box": ("<think>x</think>\\boxed{", "{7", ""),
    "many boxes": ("<think>x</think>", "\\boxed{", "7"),
    "think tags": ("", "<think></think>", ""),
    "xml pairs": ("<reasoning>", "</reasoning><answer>", ""),
    "xml lines": ("<reasoning>\n", "\n</reasoning>\n<answer>\n", "\n</answer>\n"),
}
WORDS = (
    "first", "there", "are", "then", "we", "add", "the", "apples", "that", "each", "child", "gets", "and", "so", "in",
    "all", "it", "is", "price", "left",
)  # fmt: skip


def degenerate(kind: str, size: int) -> str:
    """A reply of at least `size` characters."""
    before, repeated, behind = DEGENERATE[kind]
    return before + repeated * ((size - len(before) - len(behind)) // len(repeated) + 1) + behind


def typical(preset: str, draw: random.Random) -> tuple[str, str]:
    """A reply of about 600 characters in the preset's format, and its true answer, which it often gives."""
    answer = str(draw.randint(1, 3000))
    given = answer if draw.random() < 0.6 else str(draw.randint(1, 3000))
    words = []
    while sum(map(len, words)) + len(words) < CHARACTERS - 60:
        words.append(draw.choice(WORDS) if draw.random() < 0.85 else str(draw.randint(1, 500)))
    reasoning = " ".join(words)
    layout = {
        "gemma3": f"{OPEN}\n{reasoning}\n{CLOSE}\n{SOLUTION}{given}{END}",
        "qwen3": f"{reasoning}\n{CLOSE}\n{SOLUTION}{given}{END}",
        "deepseek-r1": f"<think>\n{reasoning}\n</think>\nThe answer is {given}.",
        "xml": f"<reasoning>\n{reasoning}\n</reasoning>\n<answer>\n{given}\n</answer>\n",
    }
    return layout[preset], answer


def best_seconds(work: Callable[[], object], repeats: int = REPEATS) -> float:
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def growth(rewards: list[Reward]) -> tuple[str, list[float], float]:
    """The slowest kind of degenerate reply at the largest size, its milliseconds by size, its exponent.

    Each time is of the slowest single function, its reading of the reply included.
    """

    def slowest(kind: str, size: int) -> float:
        reply = degenerate(kind, size)

        def work(reward: Reward, place: int) -> None:
            # A new true answer each time, or the cached batch would be used.
            reward(completions=[reply], answer=[str(place)])

        return max(
            min(best_seconds(lambda reward=reward, place=place: work(reward, place), 1) for place in range(REPEATS))
            for reward in rewards
        )

    kind = max(DEGENERATE, key=lambda each: slowest(each, SIZES[-1]))
    times = [slowest(kind, size) for size in SIZES]
    return kind, [1000 * each for each in times], float(np.polyfit(np.log(SIZES), np.log(times), 1)[0])


def throughput(preset: str, rewards: list[Reward]) -> float:
    """Completions per second through all the functions, in batches, each batch seen once."""
    draw = random.Random(0)
    drawn = [typical(preset, draw) for _ in range(COMPLETIONS)]
    completions = [[{"role": "assistant", "content": text}] for text, _ in drawn]
    answers = [answer for _, answer in drawn]

    def work() -> None:
        for start in range(0, COMPLETIONS, BATCH):
            batch = slice(start, start + BATCH)
            for reward in rewards:
                reward(prompts=None, completions=completions[batch], answer=answers[batch])

    return COMPLETIONS / best_seconds(work, 3)


def without_language(preset: str, variant: str) -> list[Reward]:
    return [reward for reward in functions(preset, variant) if reward.__name__ != LANGUAGE]


def main() -> None:
    print(f"Measured on {date.today()}, {platform.processor() or platform.machine()}, one core, ", end="")
    print(f"Python {platform.python_version()}.\n")
    print("| preset | variant | slowest degenerate reply | ms at 1k | 4k | 16k | 64k | exponent | replies/s |")
    print("|---|---|---|---|---|---|---|---|---|")
    for preset in PRESETS:
        for variant in VARIANTS:
            rewards = without_language(preset, variant)
            kind, times, exponent = growth(rewards)
            cells = " | ".join(f"{each:.2f}" for each in times)
            print(f"| {preset} | {variant} | {kind} | {cells} | {exponent:.2f} | {throughput(preset, rewards):,.0f} |")
    for variant in VARIANTS:
        language = [each for each in functions("deepseek-r1", variant) if each.__name__ == LANGUAGE]
        kind, times, exponent = growth(language)
        cells = " | ".join(f"{each:.2f}" for each in times)
        print(f"| language alone | {variant} | {kind} | {cells} | {exponent:.2f} | |")
    draw = random.Random(0)
    texts = [typical("deepseek-r1", draw)[0] for _ in range(1000)]
    for name, labels in (("the reasoning's words", label), ("the whole reply", raw_label)):
        seconds = best_seconds(lambda labels=labels: [labels(text) for text in texts], 2)
        print(f"\nlangid on {name}: {len(texts) / seconds:,.0f} texts per second.")
    cells = []
    for size in TUTORIAL_SIZES:
        seconds = best_seconds(lambda size=size: TUTORIALS_NUMBER.search(" " * size), 1)
        cells.append(f"{1000 * seconds:,.0f} ms at {size}")
    print(f"\nA tutorial's number expression, searched by `re` in nothing but spaces: {', '.join(cells)} characters.")


if __name__ == "__main__":
    main()
