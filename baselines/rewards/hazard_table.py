"""Print the hazard table of README.md from the corpora: python -m baselines.rewards.hazard_table."""

import json
from pathlib import Path

from harness.rewards import PRESETS, functions

HERE = Path(__file__).parent
LONGEST_REPLY = 90
# Hazards that are no score: what the tutorials do, and what replaces it here.
NO_SCORES = {
    5: ("every reward prints, and dies at text that its terminal cannot show", "no reward prints anything"),
    17: (
        "tags are taken from the tokenizer; without any the expression becomes `None(.*)`, and counting raises",
        "the tags are the format's own constants, whatever the tokenizer",
    ),
    18: ("four printed code blocks are no Python, one comment is wrong", "the code runs; tests hold what is said"),
}


def table() -> str:
    """The hazards in order: input, tutorial scores, robust scores, each in the order of the preset's functions."""
    rows = {variant: _rows(variant) for variant in ("tutorial", "robust")}
    lines = ["| hazard | preset | reply | truth | tutorial | robust |", "|---|---|---|---|---|---|"]
    numbered = [(row["hazard"], _line(row, rows["robust"][name])) for name, row in rows["tutorial"].items()]
    numbered += [(number, f"| {number}. {was} | | | | | {now} |") for number, (was, now) in NO_SCORES.items()]
    return "\n".join(lines + [line for _, line in sorted(numbered, key=lambda each: each[0])])


def _rows(variant: str) -> dict[str, dict]:
    with (HERE / variant / "hazards.jsonl").open(encoding="utf-8") as lines:
        return {row["id"]: row for row in map(json.loads, lines)}


def _line(tutorial: dict, robust: dict) -> str:
    cells = [
        f"{tutorial['hazard']}. {tutorial['about']}",
        tutorial["preset"],
        _code(tutorial["completion"]),
        "none" if tutorial["answer"] is None else _code(tutorial["answer"]),
        _scores(tutorial),
        _scores(robust),
    ]
    return f"| {' | '.join(cells)} |"


def _code(text: str) -> str:
    shown = text if len(text) <= LONGEST_REPLY else f"{text[:60]}…{text[-25:]}"
    shown = shown.replace("\r", "\\r").replace("\n", "\\n").replace("|", "\\|")
    return f"`` {shown} ``" if "`" in shown else f"`{shown}`"


def _scores(row: dict) -> str:
    names = [function.__name__ for function in functions(row["preset"])]
    return ", ".join("null" if row["scores"][name] is None else f"{row['scores'][name]:g}" for name in names)


if __name__ == "__main__":
    print("Functions, in order:\n")
    for preset in PRESETS:
        print(f"- {preset}: {', '.join(function.__name__ for function in functions(preset))}")
    print(f"\n{table()}")
