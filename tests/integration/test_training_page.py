"""A training on a report's page, in a real Chromium: curves to point at and to smooth, and the rollouts of any step."""

import re
import shutil
from itertools import pairwise
from pathlib import Path

import pytest
from conftest import watched_page, write_jsonl
from hostile import TEXTS

from harness.cli.stage_functions import run_stage
from harness.statistics import stats
from harness.storage.files import read_json, write_json
from harness.storage.run_folder import TRAINING_FILES, Run
from reports import training_view
from reports.training_view import Step, spread

STORED = Path(__file__).parent.parent / "unit" / "run-0.1"
STEPS, HELD_OUT = 70, 32
HOSTILE = list(TEXTS.values())
PIXELS = """((canvas) => canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data)(
    document.querySelector("#panels canvas"))"""
CORRECT = {0: 8, 20: 20, 40: 24, 60: 32}


def logged(step: int) -> dict:
    return {
        "step": step,
        "reward": step / 4,
        "rewards/check_answer/mean": (step % 5) / 2,
        "rewards/accuracy_strict/mean": step / 100,
        "completions/mean_length": 40 + step,
        "entropy": 1 / step,
    }


def probed(step: int, correct: int) -> dict:
    right = [1.0] * correct + [0.0] * (HELD_OUT - correct)
    return {"step": step, "rewards/accuracy_strict/mean": correct / HELD_OUT, "correct": right}


def rollout(step: int, place: int) -> dict:
    text = f"step {step}, completion {place}: {HOSTILE[step % len(HOSTILE)]}"
    return {"step": step, "question": f"Question {step}?", "answer": str(step), "text": text,
            "rewards": {"check_answer": 1.5}, "accuracy": float(place)}  # fmt: skip


def made(folder: Path) -> Path:
    """A finished run with a training of STEPS steps, written by hand."""
    run = Run(Path(shutil.copytree(STORED, folder / "run")))
    write_jsonl(run.path / "train/log.jsonl", [logged(step) for step in range(1, STEPS + 1)])
    write_jsonl(run.path / "train/probes.jsonl", [probed(step, correct) for step, correct in CORRECT.items()])
    rollouts = [rollout(step, place) for step in range(1, STEPS + 1) for place in (0, 1)]
    write_jsonl(run.path / "train/rollouts.jsonl", rollouts)
    run.hashes.add(*(run.path / "train" / name for name in TRAINING_FILES))
    record = read_json(run.path / "run.json")
    for side, second in (("before", 57), ("after", 58)):
        record["stages"][side]["ended"] = f"2024-02-29T23:59:{second}+00:00"
    write_json(run.path / "run.json", record)
    run_stage(run, "report", quiet=True)
    return run.report


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return made(tmp_path_factory.mktemp("training"))


@pytest.fixture
def page(browser, report):
    with watched_page(browser, 1280) as opened:
        yield at_training(opened, report)


def at_training(page, report):
    page.goto(report.as_uri())
    page.locator("#rollouts pre").first.wait_for()
    return page


def point_at(page, share: float) -> None:
    """Put the mouse over the second panel, at a share of its width."""
    over = page.locator(".u-over").nth(1)
    over.scroll_into_view_if_needed()
    box = over.bounding_box()
    page.mouse.move(box["x"] + share * box["width"], box["y"] + box["height"] / 2)


def keep(page) -> None:
    """Keep what the first plot shows."""
    page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
    page.evaluate(f"window.kept = {PIXELS}")


def draws(page, kept: bool) -> None:
    """Wait until the first plot shows what was kept, or something else; a browser rounds not always the same way."""
    far = f"{PIXELS}.some((value, at) => Math.abs(value - window.kept[at]) > 16)"
    page.wait_for_function(f"() => {far} !== {str(kept).lower()}")


def texts(page) -> list[str]:
    return page.locator("#rollouts pre").all_text_contents()


def test_it_asks_nobody_and_is_one_script_with_its_licence(page, report):
    assert page.seen == [report.as_uri()]
    assert page.locator("script:not([type])").count() == 1
    assert "Copyright (c) 2022 Leon Sorokin" in page.locator("script:not([type])").text_content()


def test_pointing_at_a_step_shows_its_values(page):
    assert page.locator("#pointed").text_content() == str(STEPS)
    point_at(page, 0.5)
    step = int(page.locator("#pointed").text_content())
    assert abs(step - STEPS / 2) <= 2
    shown = page.locator(".panel p").all_text_contents()
    assert f"all together {step / 4:.4g}".rstrip("0").rstrip(".") in shown[0]
    assert f"check_answer {(step % 5) / 2:g}" in shown[0]
    assert f"mean {40 + step}" in shown[2]
    page.mouse.move(0, 0)
    assert page.locator("#pointed").text_content() == str(STEPS)


def test_held_out_points_have_wilson_s_interval(page, report):
    low, high = stats.wilson(20, HELD_OUT)
    page.locator("#step").select_option("23")
    assert (
        f"of held-out problems 0.62 ({low:.2f} … {high:.2f}), step 20" in page.locator(".panel p").nth(1).text_content()
    )
    caption = page.locator("#still figcaption").text_content()
    assert "held-out problems with 95 % intervals" in caption
    assert "held-out problems with 95 % intervals" in report.with_name("report.md").read_text()


def test_a_probe_of_an_older_run_has_no_interval():
    row = probed(20, 20)
    (older,) = training_view.panels_of([logged(1)], [{key: row[key] for key in row if key != "correct"}])[1].points
    assert (older.value, older.low, older.text) == (20 / HELD_OUT, None, "0.62, step 20")


def test_curves_are_smoothed_and_back(page):
    keep(page)
    slider = page.get_by_label("Smoothing")
    slider.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    assert page.locator("#window").text_content() == "7"
    draws(page, kept=False)
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    draws(page, kept=True)


def test_the_rollouts_of_any_step(page):
    choice = page.locator("#step")
    assert choice.locator("option").all_text_contents() == [str(step) for step in range(1, STEPS + 1)]
    assert texts(page)[0].startswith(f"step {STEPS}, completion 0")
    for step in (1, 2, 37):
        choice.select_option(str(step))
        assert [text.partition(":")[0] for text in texts(page)] == [f"step {step}, completion {n}" for n in (0, 1)]
        assert page.locator("#asked").text_content() == f"Question {step}?"
        assert page.locator("#truth").text_content() == str(step)
    assert page.locator("#rollouts .score").all_text_contents() == [
        "wrong, or not in the required format; check_answer 1.5",
        "correct and in the required format; check_answer 1.5",
    ]
    choice.press("ArrowDown")
    assert texts(page)[0].startswith("step 38,")
    assert page.locator("#pointed").text_content() == "38"


def test_a_click_on_the_plot_chooses_the_step(page):
    point_at(page, 0.25)
    page.mouse.down()
    page.mouse.up()
    step = page.locator("#pointed").text_content()
    assert step != str(STEPS)
    assert page.locator("#step").input_value() == step
    assert texts(page)[0].startswith(f"step {step},")


def test_no_rollout_does_anything(page, report):
    assert len(HOSTILE) <= STEPS
    elements = page.locator("#moving *").count()
    for step in range(1, len(HOSTILE) + 1):
        page.locator("#step").select_option(str(step))
        assert page.locator("#moving *").count() == elements
    assert page.seen == [report.as_uri()]
    assert page.title() != "hurt"


def test_on_paper_and_without_a_script_it_is_the_picture(page, browser, report):
    keep(page)
    assert not page.locator("#still svg").is_visible()
    page.emulate_media(media="print")
    assert not page.locator("#moving").is_visible()
    assert page.locator("#still svg").is_visible()
    assert page.locator("#still summary").all_text_contents() == [
        f"Rollouts of step {step}, one prompt" for step in (1, 36, 70)
    ]
    page.emulate_media(media="screen")
    draws(page, kept=True)
    # Chromium remarks on the test's own reading of the plot.
    assert [line for line in page.seen if "willReadFrequently" not in line] == [report.as_uri()]
    plain = browser.new_context(java_script_enabled=False).new_page()
    plain.goto(report.as_uri())
    assert plain.locator("#still svg").is_visible()
    assert not plain.locator("#moving").is_visible()
    plain.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_it_whole_in_both_schemes(browser, report, scheme):
    page = at_training(browser.new_page(viewport={"width": 390, "height": 800}, color_scheme=scheme), report)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    rights = page.locator("#panels canvas").evaluate_all("all => all.map((one) => one.getBoundingClientRect().right)")
    assert len(rights) == 5
    assert max(rights) <= 390
    keep(page)
    page.emulate_media(color_scheme="dark" if scheme == "light" else "light")
    draws(page, kept=False)
    page.set_viewport_size({"width": 700, "height": 800})
    page.wait_for_function("() => document.querySelector('#panels canvas').clientWidth > 500")
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_breaks_no_rule_of_accessibility(browser, report, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe-playwright-python here")
    page = at_training(browser.new_page(color_scheme=scheme), report)
    page.locator("#step").select_option("2")
    found = axe.Axe().run(page)
    assert not found.violations_count, found.generate_report()
    page.close()


ADD_A_SIDE = """for (const row of document.querySelectorAll("section:has(#changed) tr"))
    if (row.cells.length > 2) row.insertBefore(row.cells[1].cloneNode(true), row.cells[1]);"""


def test_no_table_of_three_sides_scrolls_on_a_wide_screen(page):
    page.evaluate(f"() => {{ {ADD_A_SIDE} }}")
    widths = page.locator(".scroll").evaluate_all("all => all.map((one) => [one.scrollWidth, one.clientWidth])")
    assert widths
    assert all(inner <= outer for inner, outer in widths)


def test_the_day_is_the_record_s(page):
    assert "generated on2024-02-29" in page.locator(".measured").text_content()


def test_a_large_training_keeps_steps_at_even_distances(browser, tmp_path, monkeypatch):
    steps = [Step(step, "q" * 100, "1", ()) for step in range(1, 1001)]
    monkeypatch.setattr(training_view, "LARGEST", 10_000)
    kept = [each.step for each in spread(steps)]
    assert (kept[0], kept[-1]) == (1, 1000)
    assert 50 < len(kept) < 100
    gaps = {after - before for before, after in pairwise(kept)}
    assert max(gaps) - min(gaps) <= 1
    report = made(tmp_path)
    text = report.read_text()
    held = int(re.search(r"This page has the rollouts of (\d+) of 70 steps", text)[1])
    page = at_training(browser.new_page(), report)
    offered = page.locator("#step").locator("option").all_text_contents()
    assert len(offered) == held
    assert {offered[0], offered[-1]} == {"1", "70"}
    page.close()
    monkeypatch.undo()
    assert len(spread(steps)) == 1000
