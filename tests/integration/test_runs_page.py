"""The page of all runs in a real Chromium: two that are picked give the command, and it fits a phone."""

import os
import shlex
import shutil
from pathlib import Path

import pytest
from conftest import watched_page

STORED = Path(__file__).parent.parent / "unit" / "run-0.1"
NAMES = ("a", 'it\'s "quoted" $(id) <b>x</b>', "n" * 120)


@pytest.fixture
def page(browser, harness, tmp_path):
    """The page of three runs."""
    for day, name in enumerate(NAMES, start=1):
        shutil.copytree(STORED, tmp_path / "runs" / name)
        os.utime(tmp_path / "runs" / name / "after/completions.jsonl", (day * 86_400, day * 86_400))
    done = harness("view")
    assert done.stdout == "page: runs/index.html\n"
    with watched_page(browser, 1280) as opened:
        opened.address = (tmp_path / "runs/index.html").as_uri()
        opened.goto(opened.address)
        yield opened


def test_it_asks_nobody(page):
    assert page.seen == [page.address]
    assert "default-src 'none'" in page.locator("meta[http-equiv]").get_attribute("content")


def test_picked_runs_give_a_command_that_runs(page, harness):
    command = page.locator("#command")
    assert page.locator("#hint").text_content() == "Pick two runs or more to compare them."
    assert not command.is_visible()
    page.get_by_role("checkbox").nth(2).check()
    assert not command.is_visible()
    page.get_by_role("checkbox").nth(1).check()
    words = shlex.split(command.text_content())
    assert words == ["harness", "compare", f"runs/{NAMES[0]}", f"runs/{NAMES[1]}"]
    done = harness(*words[1:])
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("width", [1280, 500, 390])
def test_it_fits(page, width):
    page.set_viewport_size({"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for box in page.locator("svg, input").all():
        place = box.bounding_box()
        assert place["x"] >= 0
        assert place["x"] + place["width"] <= width


def test_the_keyboard_is_enough(page):
    for _ in range(2):
        page.keyboard.press("Tab")
        page.keyboard.press("Space")
    assert page.locator("#command").is_visible()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.type") == "checkbox"
