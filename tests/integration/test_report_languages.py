"""The report's page for readers of other languages than English, in a real Chromium."""

import subprocess
import sys

import pytest
from conftest import watched_page, write_jsonl

ARABIC = "الجواب هو 12"
REPLY = f"<start_working_out>\n{ARABIC}\n<end_working_out>\n<SOLUTION>12</SOLUTION>"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose replies are Arabic between English tags, with its page in Chinese."""
    folder = tmp_path_factory.mktemp("languages")
    data = write_jsonl(folder / "d.jsonl", [{"question": f"{ARABIC} {n}", "answer": "12"} for n in range(3)])
    replies = write_jsonl(folder / "r.jsonl", [{"text": REPLY}])
    command = ["run", "--engine", "scripted", "--engine-arg", f"replies={replies}", "--dataset", str(data)]
    subprocess.run([f"{sys.prefix}/bin/harness", *command, "--lang", "zh", "--output", "r"], cwd=folder, check=True)
    return folder / "r"


@pytest.fixture
def page(browser, run):
    with watched_page(browser, 1100) as opened:
        opened.goto((run / "report/index.html").as_uri())
        opened.locator("#found li").first.wait_for()
        yield opened
        assert len(opened.seen) == 1, opened.seen


def changed(page, before, after):
    """The words that are highlighted in two replies."""
    script = """replies => highlighted(replies.map((text) => [text])).map((nodes) =>
        nodes.filter((node) => node.tagName).map((node) => node.textContent))"""
    return page.evaluate(script, [before, after])


def test_a_run_writes_its_page_in_chinese(page):
    assert page.locator("html").get_attribute("lang") == "zh-Hans"
    assert page.locator("#count").text_content() == "3 / 3"
    page.locator("#found summary").first.click()
    assert page.locator("#found .score").last.text_content().startswith("答案正确, 读出：12, 符合要求的格式")
    page.get_by_role("button", name="复制为 Markdown").wait_for()
    page.keyboard.press("c")
    page.get_by_text("没有更多变化。").wait_for()


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("我们今天买了苹果。", "我们今天买了香蕉。", [["苹果"], ["香蕉"]]),
        ("りんごを三つ買いました。", "みかんを三つ買いました。", [["りんご"], ["みかん"]]),
        ("사과가 세 개 있다", "사과가 네 개 있다", [["세"], ["네"]]),
        ("There are 12 apples.", "There are 15 apples.", [["12"], ["15"]]),
        ("<SOLUTION>1</SOLUTION>", "<SOLUTION>2</SOLUTION>", [["<SOLUTION>1</SOLUTION>"], ["<SOLUTION>2</SOLUTION>"]]),
    ],
)
def test_replies_differ_word_by_word(page, before, after, expected):
    assert changed(page, before, after) == expected


def test_a_browser_that_finds_no_words_compares_what_stands_between_spaces(browser, run):
    opened = browser.new_page()
    opened.add_init_script("delete Intl.Segmenter")
    opened.goto((run / "report/index.html").as_uri())
    assert changed(opened, "今天有三个", "今天有五个") == [["今天有三个"], ["今天有五个"]]
    opened.close()


def test_arabic_stands_to_the_right_and_its_tags_to_the_left(page):
    page.locator("#found summary").first.click()
    reply = page.locator("#found pre").first
    assert reply.get_attribute("dir") == "auto"
    lines = reply.evaluate(
        """box => {
            const text = box.firstChild, whole = box.getBoundingClientRect();
            const place = (words) => {
                const range = document.createRange(), at = text.data.indexOf(words);
                range.setStart(text, at);
                range.setEnd(text, at + words.length);
                const found = range.getBoundingClientRect();
                return [Math.round(found.left - whole.left), Math.round(whole.right - found.right)];
            };
            return [place("<start_working_out>"), place(ARABIC)];
        }""".replace("ARABIC", f'"{ARABIC}"')
    )
    (tag_left, tag_right), (arabic_left, arabic_right) = lines
    assert tag_left < 5 < tag_right
    assert arabic_right < 5 < arabic_left
