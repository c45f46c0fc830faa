"""report.md, for a pull request: five lines first, words explained, two replies, hashes folded away."""

import re
import shutil
from pathlib import Path

import pytest

from harness.cli.stage_functions import run_stage
from harness.storage.run_folder import Run
from reports.summary import MOST_LINES, code

STORED = Path(__file__).parent / "run-0.1"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = Run.open(Path(shutil.copytree(STORED, tmp_path_factory.mktemp("markdown") / "run")))
    run_stage(run, "report", quiet=True)
    return run


@pytest.fixture(scope="module")
def text(run):
    return run.report.with_name("report.md").read_text(encoding="utf-8")


def test_five_lines_come_first(text):
    title, empty, *lines = text.split("\n")[:8]
    assert title.startswith("# tiny: ")
    assert not empty
    assert [line.startswith("- ") for line in lines] == [True] * 5 + [False]
    assert (
        lines[3] == "- Model tiny (embedded), 6 problems of word-problems, one reply per problem, transformers on cpu."
    )
    assert "about this one adapter" in lines[4]
    assert text.count("about this one adapter") == 1


def test_every_metric_is_explained(text):
    rows = re.findall(r"^\| ([^|]+) \|", text.partition("|---")[2].partition("\n\n")[0], re.MULTILINE)
    assert len(rows) > 8
    for name in rows:
        assert f"\n- {name}: " in text


def test_hashes_are_folded_away(text):
    open_text = re.sub(r"<details>.*?</details>", "", text, flags=re.DOTALL)
    assert re.search(r"[0-9a-f]{64}", text)
    assert not re.search(r"[0-9a-f]{64}", open_text)
    assert text.count("<details>") == text.count("</details>") == 2


def test_two_replies_are_shown_whole(run, text):
    shown = text.partition("## Two sample replies (after)")[2].partition("## Plots")[0]
    side = run.evaluation("after")
    for value in (0, 1):
        scored = zip(side.completions, side.scores, strict=True)
        reply = next((each for each, score in scored if score.scores["accuracy_strict"] == value), None)
        if reply:
            assert code(reply.question) in shown
            assert code(reply.reply) in shown
    assert shown.count("the true answer is") == len({score.scores["accuracy_strict"] for score in side.scores})


def test_every_image_is_a_file_and_the_page_says_how_to_attach_it(run, text):
    images = re.findall(r"!\[[^]]*\]\((plots/\w+\.png)\)", text)
    assert len(images) >= 3
    assert all((run.report.parent / image).is_file() for image in images)
    assert "drag them in" in text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb", "    a\n    b"),
        ("```\n</details>", "    ```\n    </details>"),
        ("a\r# b", "    a‹U+000D›# b"),
        ("a\u2028# b\x1b", "    a‹U+2028›# b‹U+001B›"),
        ("", "    (nothing)"),
        (" \n ", "    (nothing)"),
        ("x" * 900, "    " + "x" * 800 + "\n    … (cut here; the whole reply is in completions.jsonl)"),
    ],
)
def test_no_text_ends_its_block(text, shown):
    assert code(text) == shown


def test_a_reply_of_many_lines_is_cut():
    assert code("x\n" * 50).count("\n") == MOST_LINES
