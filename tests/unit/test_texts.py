"""The page in Chinese: none of its fixed texts is missing in the table, and the table has none that is not used."""

import re
import shutil
import time
from html.parser import HTMLParser
from pathlib import Path

import fixed_texts
import pytest

from harness.storage.files import read_json, write_json
from harness.types import MetricValue
from reports import plots
from reports.texts import t, table, using

STORED = Path(__file__).parent / "run-0.1"
CHINESE = table("zh")
# What stands in the modules and on no page, or on every page as it is: names, units, values of matplotlib's.
NOT_SHOWN = {
    "{} pp", "as stored", "not set", "not started", "axes fraction", "outside upper right", "exact McNemar",
    "sign-flip permutation", "<!-- harness view -->", "delete it, then run `harness report` again",
    "importance ratio", "no difference", "reward without accuracy",
    "seed-{} {}",
    "/*! uPlot:\n{}\n*/\n{}\n{}",
    # Settings that differ, by their names.
    "version of {}", "engine: {} and {}", "{}: {} and {}", "{} {} and {}",
}  # fmt: skip
WITHOUT_PAGE = {"reports/gate.py", "reports/page.py"}


def has_words(text: str) -> bool:
    return bool(re.search("[A-Za-z]{2}.* |.* [A-Za-z]{2}", text.strip()))


def missing(found: set[str]) -> set[str]:
    """Those without a row; an ending that a sentence has or has not stands behind a hole of its own."""
    return {text for text in found if not CHINESE.keys() & {text, text.strip(), f"{{}}{text}"}}


def test_what_templates_and_scripts_say_is_in_the_table():
    assert not missing(fixed_texts.of_templates() | fixed_texts.of_scripts())


@pytest.mark.parametrize(("module", "found"), fixed_texts.of_modules().items())
def test_the_sentences_of_modules_are_in_the_table(module, found):
    if module not in WITHOUT_PAGE:
        fonts = set(plots.CJK) if module == "reports/plots.py" else set()
        assert not missing({text for text in found if has_words(text)} - NOT_SHOWN - fonts)


def test_the_table_has_nothing_that_is_not_said():
    said = fixed_texts.of_templates() | fixed_texts.of_scripts()
    said |= {each for found in fixed_texts.of_modules().values() for text in found for each in (text, text.strip())}
    assert not {text for text in CHINESE if not said & {text, text.removeprefix("{}").strip()}}


@pytest.mark.parametrize("page", fixed_texts.PAGES, ids=lambda page: page.name)
def test_a_template_shows_no_word_that_is_not_translated(page):
    assert fixed_texts.outside_of_blocks(page) == []


@pytest.mark.parametrize("text", [text for text in CHINESE if "{}" in text])
def test_every_row_is_found_and_takes_its_values(text):
    values = [f"<{number}>" for number in range(text.count("{}"))]
    with using("zh"):
        assert t(text.format(*values)) == CHINESE[text].replace(":t", "").format(*values)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("better", "变好"),
        ("In the required format: 3.0% before, 5.0% after (+2.0 points): better.",
         "符合要求的格式：训练前 3.0%，训练后 5.0%（+2.0 个百分点）：变好。"),
        # A sentence after another, and one whose row has no stop.
        ("3 replies are scored on one side only and left out. a difference of this size takes about 9 problems.",
         "3 条回复只在一侧有评分，未计入。要确认这样大小的差异，大约需要 9 道题。"),
        # What is no text of ours stays as it is, in a hole too.
        ("seed better", "种子 better"),
        ("The better of two is worse.", "The better of two is worse."),
        ("", ""),
    ],
)  # fmt: skip
def test_a_text_is_found_by_what_it_says(text, shown):
    assert t(text) == text
    with using("zh"):
        assert t(text) == shown


def test_a_png_stays_english_where_no_font_has_chinese(monkeypatch, caplog):
    def drawn(language):
        with using(language):
            return plots.metric_bars({"before": {"accuracy_strict": MetricValue(0.5, 0.4, 0.6, 9, 0)}})

    monkeypatch.setattr(plots, "HAS_CJK", False)
    assert drawn("zh").png == drawn("en").png
    assert "回复的百分比" in drawn("zh").svg
    assert drawn("zh").caption == "各项指标（百分比），带 95 % 置信区间。"
    monkeypatch.setattr(plots, "HAS_CJK", True)
    assert drawn("zh").png != drawn("en").png
    assert not caplog.records


@pytest.mark.parametrize("text", ["x: nothing to compare. " * 60 + "y", "a. " * 50_000, "{} {0} {:t} " * 1000])
def test_a_text_of_anybodys_is_left_in_a_moment(text):
    started = time.monotonic()
    with using("zh"):
        t(text)
    assert time.monotonic() - started < 5


class Shown(HTMLParser):
    """What a page shows of its own: without the texts of models, data, settings and commands."""

    def __init__(self, page: str):
        super().__init__()
        self.inside, self.texts, self.language = [], [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        known = dict(attrs)
        self.language = known.get("lang", self.language)
        self.texts += [known[name] for name in ("aria-label", "placeholder") if known.get(name)]
        if tag not in ("meta", "input", "br", "img", "line", "polyline", "circle"):
            self.inside.append(f"{tag}.{known.get('class')}")

    def handle_endtag(self, tag):
        while self.inside and not self.inside.pop().startswith(f"{tag}."):
            pass

    def handle_data(self, data):
        others = ("script.", "style.", "pre.", "dl.facts", "p.question", "code.", "option.")
        if not any(each.startswith(others) for each in self.inside):
            self.texts.append(data)


@pytest.fixture
def pages(tmp_path, command):
    """The text of each kind of page that a command writes: pages("--lang", "zh")."""
    runs = tmp_path / "runs"
    run = Path(shutil.copytree(STORED, runs / "run"))
    alone = Path(shutil.copytree(STORED, runs / "alone"))
    record = read_json(alone / "run.json")
    for part in ("stages", "provenance"):
        del record[part]["train"], record[part]["after"]
    write_json(alone / "run.json", record)

    def write(*options: str) -> list[str]:
        for words in (
            ("report", run),
            ("report", alone),
            ("compare", run / "before", run / "after", run / "before", "--output", tmp_path / "two"),
            ("view", runs),
        ):
            code, said = command(*words, *options)
            assert code == 0, said
        files = (run / "report", alone / "report", tmp_path / "two", runs)
        return [(file / "index.html").read_text(encoding="utf-8") for file in files]

    return write


def test_no_english_sentence_is_left_on_a_chinese_page(pages):
    for page in pages("--lang", "zh"):
        shown = Shown(page)
        assert shown.language == "zh-Hans"
        left = [text for text in shown.texts if re.search("[a-z]{2,} [a-z]{2,} [a-z]{2,}", text)]
        assert left == []
        assert sum("\u4e00" <= letter <= "\u9fff" for letter in page) > 200


def test_an_english_page_has_no_chinese(pages):
    for page in pages():
        assert Shown(page).language == "en"
        assert not re.search("[\u4e00-\u9fff]", page)
