"""The report's page in a real Chromium: it filters, fits a phone, and no text of a model's does anything."""

import csv
import io
import json
import os
import random
import shutil

import pytest
from conftest import watched_page, write_jsonl
from hostile import TEXTS

from harness.statistics.compare import metrics_of
from harness.storage.files import write_json
from harness.types import Completion, Evaluation, Score
from reports import explorer

HOSTILE = {name: TEXTS[name] for name in list(TEXTS)[:7]}
LAYOUT = "<start_working_out>\n{}\n<end_working_out>\n<SOLUTION>{}</SOLUTION>"


@pytest.fixture
def page(browser):
    with watched_page(browser, 1100) as opened:
        yield opened


@pytest.fixture(scope="module")
def run(tmp_path_factory, forks):
    """A finished run of 40 problems with two sides, the adapter's replies written by hand."""
    folder = tmp_path_factory.mktemp("page")
    hostile = list(HOSTILE.values())
    rows = [{"question": f"Question {n}: {hostile[n % len(hostile)]}", "answer": str(n)} for n in range(40)]
    data = write_jsonl(folder / "d.jsonl", rows)
    replies = write_jsonl(folder / "r.jsonl", [{"text": f"{text} 3"} for text in hostile])
    command = ["run", "--engine", "scripted", "--engine-arg", f"replies={replies}", "--dataset", str(data)]
    forks.run([*command, "--output", "r"], folder, dict(os.environ)).check_returncode()
    made = folder / "r"
    shutil.copytree(made / "before", made / "after")
    journal = [json.loads(line) for line in (made / "after/completions.jsonl").read_text().splitlines()]
    for row in journal:
        place = row["position"]
        row["text"] = LAYOUT.format(hostile[place % len(hostile)], row["answer"] if place % 4 else "0")
    write_jsonl(made / "after/completions.jsonl", journal)
    record = json.loads((made / "run.json").read_text())
    for part in ("stages", "provenance"):
        record[part]["after"] = record[part]["before"]
    write_json(made / "run.json", record)
    for stage in ("score", "report"):
        forks.run([stage, str(made)], folder, dict(os.environ)).check_returncode()
    return made


def counts(page, text):
    from playwright.sync_api import expect

    expect(page.locator("#count")).to_have_text(text)


def opened(page, run):
    page.goto((run / "report/index.html").as_uri())
    page.locator("#found li").first.wait_for()
    return page


def test_it_asks_nobody_and_stays_quiet(page, run):
    opened(page, run)
    assert page.seen == [(run / "report/index.html").as_uri()]
    assert "default-src 'none'" in page.locator("meta[http-equiv]").get_attribute("content")


def test_every_reply_can_be_found(page, run):
    opened(page, run)
    assert page.locator("#count").text_content() == "40 of 40"
    assert page.locator("#found li").count() == 20
    page.locator("#more").click()
    assert page.locator("#found li").count() == 40
    page.get_by_label("Search").fill("question 17:")
    counts(page, "1 of 40")
    page.get_by_label("Search").fill("")
    page.locator("select[name=change]").select_option("gained")
    counts(page, "31 of 40")
    page.get_by_label("The last reply is").select_option("format")
    counts(page, "0 of 40")


def test_a_counter_filters_and_replies_open_side_by_side(page, run):
    opened(page, run).locator("button[data-change=neither]").click()
    assert page.locator("#count").text_content() == "9 of 40"
    page.locator("#found summary").first.click()
    assert page.locator("#found article h3").all_text_contents() == ["before", "after"]
    before, after = (page.locator("#found article").nth(place).bounding_box() for place in (0, 1))
    assert before["y"] == after["y"]
    assert page.locator("#found ins", has_text="<SOLUTION>0</SOLUTION>").count() == 1


def test_the_keyboard_is_enough(page, run):
    opened(page, run).get_by_label("Search").focus()
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.tagName") == "SUMMARY":
            break
    page.keyboard.press("Enter")
    page.locator("#found article").first.wait_for()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_reply_changes_nothing_but_its_own_box(page, run, name):
    title = opened(page, run).title()
    place = list(HOSTILE).index(name)
    page.get_by_label("Search").fill(f"question {place}:")
    counts(page, "1 of 40")
    page.locator("#found summary").click()
    shown = page.locator("#found article pre").nth(1)
    assert "<SOLUTION>" in shown.text_content()
    assert page.title() == title
    assert page.evaluate("getComputedStyle(document.body).display") == "block"
    assert page.evaluate("document.documentElement.scrollWidth") <= 1100
    assert shown.bounding_box()["height"] <= 600
    assert len(page.seen) == 1
    assert page.evaluate("document.querySelectorAll('img, iframe, object, script:not([type])').length") == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_it_whole_in_both_schemes(browser, run, scheme):
    page = browser.new_page(viewport={"width": 390, "height": 800}, color_scheme=scheme)
    opened(page, run).locator("#found summary").first.click()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (light == "rgb(251, 250, 248)") == (scheme == "light")
    page.close()


def test_plots_say_what_they_show(page, run):
    labels = opened(page, run).locator("svg[role=img]").evaluate_all("each => each.map(one => one.ariaLabel)")
    assert len(labels) >= 3
    assert all(len(label) > 30 for label in labels)


def test_it_prints_whole_and_without_its_controls(page, run):
    opened(page, run).emulate_media(media="print")
    assert not page.locator("#explorer").is_visible()
    assert page.locator("h1").is_visible()
    page.evaluate(
        "addEventListener('beforeprint', () => { window.texts = document.querySelectorAll('#found pre').length; })"
    )
    page.pdf()
    assert page.evaluate("window.texts") == 40
    assert page.locator("details[open]").count() == 1
    assert page.evaluate("getComputedStyle(document.querySelector('h2')).breakAfter") == "avoid"


def problem(run, number):
    """The id of a problem by its number in the data."""
    rows = (run / "before/completions.jsonl").read_text(encoding="utf-8").splitlines()
    return next(row["problem_id"] for row in map(json.loads, rows) if row["question"].startswith(f"Question {number}:"))


def title(page):
    return page.locator("#found details[open] .title").text_content()


def test_a_permalink_opens_its_reply_and_opening_makes_one(page, run):
    file = (run / "report/index.html").as_uri()
    page.goto(f"{file}#reply={problem(run, 17)}")
    page.locator("#found article").first.wait_for()
    assert title(page).startswith("Question 17:")
    page.get_by_label("Search").fill("question 3:")
    counts(page, "1 of 40")
    page.locator("#found summary").click()
    assert page.url == f"{file}#reply={problem(run, 3)}"
    # A filter gives way to a link.
    page.evaluate(f"location.hash = 'reply={problem(run, 5)}'")
    counts(page, "40 of 40")
    assert title(page).startswith("Question 5:")
    page.evaluate("location.hash = 'reply=nobody'")
    page.get_by_text("not on this page").wait_for()


def test_keys_walk_through_the_replies(page, run):
    opened(page, run)
    titles = page.locator("#found .title").all_text_contents()
    page.keyboard.press("j")
    page.keyboard.press("j")
    assert title(page) == titles[1]
    page.keyboard.press("k")
    assert title(page) == titles[0]
    page.keyboard.press("f")
    assert page.locator("#found details[open] .badge").text_content() == "neither"
    page.keyboard.press("c")
    page.get_by_text("No further change.").wait_for()
    page.locator("button[data-change=gained]").click()
    page.get_by_role("button", name="Next change").click()
    assert page.locator("#found details[open] .badge").text_content() == "gained"
    page.keyboard.press("/")
    page.keyboard.type("jkf")
    assert page.get_by_label("Search").input_value() == "jkf"


def test_replies_sort_and_filter_by_a_reward(page, run):
    opened(page, run)
    page.locator("select[name=reward]").select_option(label="check_answer")
    column = "reward/check_answer"

    def rows():
        with page.expect_download() as download:
            page.locator("#jsonl").click()
        text = download.value.path().read_text(encoding="utf-8")
        return [row for row in map(json.loads, text.split("\n")[:-1]) if row["side"] == "after"]

    whole = rows()
    for choice, expected in (("above", lambda value: value > 0), ("below", lambda value: value < 0)):
        page.locator("select[name=earns]").select_option(choice)
        few = sum(expected(row[column]) for row in whole)
        counts(page, f"{few} of 40")
        assert all(expected(row[column]) for row in rows())
    page.locator("select[name=earns]").select_option("")
    counts(page, "40 of 40")
    for choice, key, down in (("reward down", column, True), ("tokens up", "tokens", False)):
        page.locator("select[name=sort]").select_option(choice)
        page.wait_for_timeout(200)
        values = [row[key] for row in rows()]
        assert values == sorted(values, reverse=down)
        assert len(set(values)) > 1


def test_an_empty_result_says_so(page, run):
    opened(page, run).get_by_label("Search").fill("nobody says this")
    page.get_by_text("No reply matches these filters.").wait_for()
    assert page.locator("#csv").is_disabled()
    page.get_by_role("button", name="Clear the filters").click()
    counts(page, "40 of 40")
    assert not page.locator("#nothing").is_visible()


def test_the_question_stands_once(page, run):
    opened(page, run).keyboard.press("j")
    assert page.locator("#found details[open]").text_content().count("Question ") == 1


def test_a_reply_is_copied_as_markdown(page, run):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    opened(page, run).keyboard.press("j")
    page.get_by_role("button", name="Copy as Markdown").click()
    page.get_by_role("button", name="Copied").wait_for()
    text = page.evaluate("navigator.clipboard.readText()")
    assert title(page) in text
    assert "<SOLUTION>" in text
    assert page.evaluate("markdownOf(['a ```` b', null, '', 'both', []], ['x'], 'q')").count("`````") == 2


def test_cells_of_a_csv_cannot_act(page, run):
    opened(page, run)
    texts = ["=1+1", "+1", "-1", "@a", " =1", "\t=1", "\rx", "＝1", 'a"b', "a,b", "1=1", "两", ""]
    text = page.evaluate("texts => csv(texts.map((text) => ({text, number: -1.5})))", texts)
    assert text.startswith('\ufeff"text","number"\r\n')
    cells = list(csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline="")))[1:]
    assert [cell for cell, _ in cells] == [f"'{each}" for each in texts[:8]] + texts[8:]
    assert {number for _, number in cells} == {"-1.5"}


def test_downloads_hold_what_is_filtered(page, run):
    opened(page, run).locator("button[data-change=neither]").click()
    for name in ("csv", "jsonl"):
        with page.expect_download() as download:
            page.locator(f"#{name}").click()
        text = download.value.path().read_bytes().decode("utf-8-sig")
        rows = (
            list(csv.DictReader(io.StringIO(text, newline="")))
            if name == "csv"
            else [json.loads(line) for line in text.split("\n")[:-1]]
        )
        assert len(rows) == 18
        assert {row["change"] for row in rows} == {"neither"}
        assert {row["side"] for row in rows} == {"before", "after"}
    stored = (run / "after/completions.jsonl").read_text(encoding="utf-8").splitlines()
    texts = {(row["problem_id"], row["prefix"] + row["text"]) for row in map(json.loads, stored)}
    assert {(row["problem_id"], row["reply"]) for row in rows if row["side"] == "after"} <= texts
    assert len(page.seen) == 1


def test_no_metric_is_broken_in_two_on_a_phone(browser, run):
    page = browser.new_page(viewport={"width": 390, "height": 800})
    opened(page, run)
    assert (
        page.locator(".whole").evaluate_all(
            "all => all.map((one) => new Set(Array.from(one.getClientRects(), (part) => part.top)).size)"
        )
        == [1] * page.locator(".whole").count()
    )
    widths = page.locator("figure svg").evaluate_all("all => all.map((one) => one.getBoundingClientRect().right)")
    assert widths
    assert max(widths) <= 390
    page.locator(".contents a", has_text="Replies").click()
    assert page.locator("#replies-list").bounding_box()["y"] < 400
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_breaks_no_rule_of_accessibility(browser, run, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe-playwright-python here")
    page = browser.new_page(color_scheme=scheme)
    opened(page, run).keyboard.press("j")
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    found = axe.Axe().run(page)
    assert not found.violations_count, found.generate_report()
    page.close()


def side(name: str, n: int) -> Evaluation:
    texts = [random.Random(f"{name}{k}").randbytes(200).hex() for k in range(n)]
    completions = tuple(
        Completion(f"q{k}", 0, f"question {k}", "1", text, 9, "stop", "p", 0) for k, text in enumerate(texts)
    )
    scores = tuple(
        Score(
            f"q{k}",
            0,
            "1",
            "en",
            {"accuracy_strict": float(k % 2 == (name == "after")), "accuracy_flexible": 1},
            {},
        )
        for k in range(n)
    )
    return Evaluation(name, completions, scores, metrics_of(scores), {})


def test_a_page_holds_as_many_replies_as_it_may(monkeypatch):
    sides = [side("before", 1000), side("after", 1000)]
    whole = explorer.pack(sides)
    assert (whole.shown, whole.total) == (1000, 1000)
    monkeypatch.setattr(explorer, "LARGEST", 100_000)
    cut = explorer.pack(sides)
    assert 100 < cut.shown < 900
    assert cut.changes["gained"] == pytest.approx(cut.changes["lost"], abs=1)
    assert 130_000 < len(cut.data) < 200_000
    data = explorer.unpack(cut)
    assert data["sides"] == ["before", "after"]
    assert len(data["rows"]) == cut.shown
