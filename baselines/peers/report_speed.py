"""Seconds, memory and page size of the report, at the sizes people run.

    python -m baselines.peers.report_speed OUT.json

Made-up runs of so many problems and replies, of texts as long as GSM8K's solutions, have constructed scores;
what is timed is `harness report` as a process: comparison, plots, page and Markdown. Where Chromium and playwright are,
a search over all replies of the page is timed too, from the last key to the list (120 ms of it wait for more keys).
"""

import json
import os
import platform
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from harness.configure import configure
from harness.data.datasets import settle_split
from harness.statistics.compare import metrics_of
from harness.storage.files import write_json, write_lines
from harness.storage.run_folder import Run
from harness.types import Score

# Problems, replies per problem.
SIZES = ((1319, 1), (1319, 4), (100_000, 1))
REWARDS = ("match_format_exactly", "match_format_approximately", "check_answer", "check_numbers")
WORDS = (
    "apples",
    "adds",
    "gives",
    "each",
    "total",
    "=",
    "+",
    "12",
    "7",
    "so",
    "the",
    "of",
    "half",
    "twice",
    "<b>",
    "left",
)


def main() -> None:
    out = Path(sys.argv[1])
    found = {"machine": f"{os.cpu_count()} cores, {platform.machine()}", "date": time.strftime("%Y-%m-%d"), "sizes": []}
    for problems, replies in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            run = _made_up(Path(folder) / "run", problems, replies)
            started = time.monotonic()
            subprocess.run([sys.executable, "-m", "harness", "report", run.path], check=True, stdout=subprocess.DEVNULL)
            seconds = time.monotonic() - started
            size = run.report.stat().st_size
            search = _search_seconds(run.report)
        # Of all children so far, so sizes go up.
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
        found["sizes"].append(
            {"problems": problems, "replies": replies, "seconds": round(seconds, 2), "page_mb": round(size / 1e6, 2),
             "peak_gib": round(peak, 2), "search_seconds": search}
        )  # fmt: skip
        print(found["sizes"][-1])
    out.write_text(json.dumps(found, indent=2) + "\n")


def _search_seconds(page_file: Path) -> float | None:
    """The median of five searches on the page; None if there is no browser."""
    chromium = shutil.which("chromium")
    if chromium is None or find_spec("playwright") is None:
        return None
    from playwright.sync_api import expect, sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(page_file.as_uri())
        page.locator("#found li").first.wait_for()
        seconds = []
        for text in ("question 77", "twice half", "#### 99", "adds gives", "question 1"):
            shown = page.locator("#count").text_content()
            started = time.monotonic()
            page.get_by_label("Search").fill(text)
            expect(page.locator("#count")).not_to_have_text(shown)
            seconds.append(time.monotonic() - started)
        browser.close()
    return round(statistics.median(seconds), 3)


def _made_up(folder: Path, problems: int, replies: int) -> Run:
    """A run folder of both sides, as a finished run leaves it."""
    config = settle_split(configure("tiny", None, {"samples": replies}, []), trains=True)
    run = Run.create(folder, config, "harness run")
    for place, side in enumerate(("before", "after")):
        draw = random.Random(place)
        with run.record.stage(side) as provenance:
            provenance |= {"equality": "number", "problems": problems}
            rows = [_reply(draw, n, index) for n in range(problems) for index in range(replies)]
            graded = [_score(draw, row, 0.4 + 0.2 * place) for row in rows]
            write_lines(folder / side / "completions.jsonl", rows)
            write_lines(folder / side / "scores.jsonl", graded)
            metrics = metrics_of([Score(**row) for row in graded])
            write_json(folder / side / "metrics.json", {name: vars(each) for name, each in metrics.items()})
    run.lock_file = None  # the command that is measured locks it
    return run


def _reply(draw: random.Random, problem: int, index: int) -> dict:
    text = " ".join(draw.choices(WORDS, k=draw.randint(60, 180)))
    return {
        "problem_id": f"p{problem}", "index": index, "question": f"Question {problem}: {text[:200]}?", "answer": "7",
        "text": f"{text}\n#### {draw.randint(1, 999)}", "n_tokens": len(text) // 4, "finish_reason": "stop",
        "prompt_sha": f"{problem:016x}", "seed": 0, "kind": f"kind {problem % 9}", "prefix": "",
        "position": problem * 10 + index,
    }  # fmt: skip


def _score(draw: random.Random, row: dict, share: float) -> dict:
    strict, right = float(draw.random() < share), float(draw.random() < share)
    scores = {
        "format_strict": strict, "format_tags": draw.choice((0.5, 0.75, 1.0)), "accuracy_strict": strict * right,
        "accuracy_flexible": right, "language_ratio": 1.0, "language_raw": 1.0, "truncated": 0.0,
        "tokens": float(row["n_tokens"]), **{f"reward/{name}": draw.choice((-1.0, 0.5, 3.0)) for name in REWARDS},
    }  # fmt: skip
    answer = str(draw.randint(1, 9))
    return {"problem_id": row["problem_id"], "index": row["index"], "extracted": answer, "language": "en",
            "scores": scores, "reasons": {}}  # fmt: skip


if __name__ == "__main__":
    main()
