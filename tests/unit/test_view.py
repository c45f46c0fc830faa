"""The page of all runs: what it shows, what it refuses, and that nothing from elsewhere acts or leads out."""

import json
import os
import re
import shutil
import sys
from pathlib import Path

import pytest
from hostile import HARMLESS, TEXTS, Structure

from harness.console import progress
from harness.console.markdown import SHAPELESS
from harness.storage.files import read_json, write_json
from reports import run_index
from reports.run_index import Entry, Unreadable

STORED = Path(__file__).parent / "run-0.1"
DAY = 86_400


@pytest.fixture
def runs(tmp_path):
    """A folder of runs; runs.add("name", day=3, …keys of its configuration) copies the stored one into it."""
    folder = tmp_path / "runs"

    def add(place: str, /, day: int = 1, **keys: object) -> Path:
        made = Path(shutil.copytree(STORED, folder / place))
        record = read_json(made / "run.json")
        record["configuration"] |= keys
        write_json(made / "run.json", record)
        os.utime(made / "after/completions.jsonl", (day * DAY, day * DAY))
        return made

    folder.mkdir()
    add.folder = folder
    return add


@pytest.fixture
def page(runs, command):
    """Make the page: page() -> its text."""

    def make() -> str:
        code, said = command("view", runs.folder)
        assert code == 0, said
        return (runs.folder / "index.html").read_text(encoding="utf-8")

    return make


def found(folder: Path) -> list[Entry | Unreadable]:
    places = run_index.find(folder)
    return [run_index.read(place, folder) if isinstance(place, Path) else place for place in places]


def reasons(folder: Path) -> dict[str, str]:
    return {each.name: each.reason for each in found(folder) if isinstance(each, Unreadable)}


def test_an_older_run_is_a_row(runs, page):
    made = runs("a", day=1)
    comparison = read_json(made / "comparison.json")["metrics"]["accuracy_flexible"]
    entry = found(runs.folder)[0]
    assert (entry.name, entry.model, entry.data) == ("a", "tiny (embedded)", "word-problems, working-out")
    assert entry.means["accuracy_flexible"] == (comparison["before"], comparison["after"])
    assert entry.row("accuracy_flexible").verdict == comparison["verdict"]
    assert not entry.state
    assert f"{entry.when:%Y-%m-%d}" == "1970-01-02"
    assert comparison["verdict"] in page()


def test_the_record_says_when_a_run_was_made(runs):
    made = runs("a", day=1)
    record = read_json(made / "run.json")
    record["stages"]["after"]["ended"] = "2024-02-29T23:59:58+00:00"
    write_json(made / "run.json", record)
    assert f"{found(runs.folder)[0].when:%Y-%m-%d %H:%M:%S}" == "2024-02-29 23:59:58"


def test_it_reads_no_replies(runs):
    made = runs("a")
    (made / "after/completions.jsonl").write_bytes(b"\xff" * 100)
    (made / "after/scores.jsonl").unlink()
    assert isinstance(found(runs.folder)[0], Entry)


def test_one_side_has_its_own_means(runs):
    made = runs("a")
    record = read_json(made / "run.json")
    for stage in ("train", "after"):
        del record["stages"][stage]
    write_json(made / "run.json", record)
    entry = found(runs.folder)[0]
    mean = read_json(made / "before/metrics.json")["format_strict"]["mean"]
    assert entry.means["format_strict"] == (mean, None)
    assert not entry.row("format_strict").delta


def test_two_runs_of_one_model_are_drawn_over_time(runs, page):
    runs("late", day=400)
    runs("early", day=30)
    runs("other", day=200, dataset="gsm8k")
    text = page()
    assert [each.group(1) for each in re.finditer(r'aria-label="compare (\w+)"', text)] == ["late", "other", "early"]
    plots = re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL)
    assert len(plots) == 3
    assert "accuracy_flexible of 2 runs, 1970-01-31 to 1971-02-05" in plots[0]
    assert [each.split(",")[0] for each in re.findall(r"<title>(.*?)</title>", plots[0])] == ["early", "late"]
    assert "gsm8k" not in text.partition("Over time")[2]


def test_a_run_that_is_not_finished_says_so(runs, page):
    made = runs("a")
    record = read_json(made / "run.json")
    record["stages"]["after"]["state"] = "stopped"
    write_json(made / "run.json", record)
    assert "not finished: after: stopped" in page()


def test_a_primary_metric_of_its_own_is_shown(runs, page):
    runs("a", primary="tokens")
    assert "primary metric tokens" in page()


def test_runs_in_folders_are_found_and_parts_of_a_run_are_not(runs):
    shutil.copytree(STORED, runs("deep/er/a") / "seed-1")
    assert [each.name for each in found(runs.folder)] == ["deep/er/a"]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda run: (run / "run.json").write_text('{"a":'), "run.json: cannot be read"),
        (lambda run: (run / "run.json").write_text("[]"), "run.json: damaged or edited (not an object)"),
        (lambda run: (run / "run.json").write_bytes(b"\xff"), "run.json: cannot be read"),
        (lambda run: (run / "run.json").write_text("[" * 100_000), "run.json: cannot be read"),
        (lambda run: (run / "comparison.json").write_text('{"metrics": 1}'), "comparison.json: "),
        (lambda run: ((run / "run.json").unlink(), os.mkfifo(run / "run.json")), "run.json: not a file"),
        (lambda run: ((run / "run.json").unlink(), (run / "run.json").symlink_to("run.json")), "run.json: not a file"),
    ],
    ids=["cut", "a list", "bytes", "deep", "comparison", "pipe", "circle"],
)
def test_a_damaged_run_is_one_line_among_the_others(runs, page, damage, reason):
    runs("good")
    damage(runs("bad"))
    assert reasons(runs.folder)["bad"].startswith(reason)
    assert "\n" not in reasons(runs.folder)["bad"]
    text = page()
    assert ">bad</dt>" in text
    assert 'aria-label="compare good"' in text


def test_no_link_out_of_the_folder_is_followed(runs, tmp_path, page):
    runs("good")
    outside = Path(shutil.copytree(STORED, tmp_path / "outside"))
    (outside / "report").mkdir()
    (outside / "report/index.html").write_text("x")
    (runs.folder / "folder").symlink_to(outside)
    for name in ("run.json", "comparison.json"):
        made = runs(f"{name} out")
        (made / name).unlink()
        (made / name).symlink_to(outside / name)
    (runs("report out") / "report").symlink_to(outside / "report")
    assert reasons(runs.folder) == {
        "run.json out": "run.json: a link that leaves the folder, not followed",
        "comparison.json out": "comparison.json: a link that leaves the folder, not followed",
    }
    assert not Structure(page()).addresses
    assert "folder" not in {each.name for each in found(runs.folder)}


def test_links_are_relative_and_stay_below(runs, page):
    for name in ("a", "javascript:alert(1)", "a b#c?d", "..."):
        made = runs(name) / "report"
        made.mkdir()
        (made / "index.html").write_text("x")
    addresses = Structure(page()).addresses
    assert sorted(addresses) == sorted(
        f"{name}/report/index.html" for name in ("a", "javascript%3Aalert%281%29", "a%20b%23c%3Fd", "...")
    )


def structure(text: str) -> list[tuple[str, ...]]:
    return [each for each in Structure(text).elements if each != ("wbr",)]


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_no_text_of_a_run_acts(runs, page, text):
    keys = ("name", "checkpoint", "dataset", "format", "primary")
    runs("a", day=1)
    ours = structure(page())
    shutil.rmtree(runs.folder / "a")
    runs("a", day=1, **dict.fromkeys(keys, text))
    made = page()
    # A model that is called as its checkpoint is named once; a metric that no run has is not shown.
    assert structure(made) == ours
    assert not SHAPELESS.search(made)


NAMES = ["<img src=x onerror=alert(1)>", "\x1b[31m\u202e'\"\n`id`", "{{ 7*7 }}", "-rf", "\udcff"]


@pytest.mark.parametrize("name", NAMES)
def test_no_name_of_a_folder_acts(runs, page, name, command, monkeypatch):
    runs(HARMLESS)
    ours = structure(page())
    (runs.folder / HARMLESS).rename(runs.folder / name)
    text = page()
    can_be_typed = name.isprintable()
    if can_be_typed:
        assert structure(text) == ours
    else:
        assert [each[0] for each in structure(text)] == [each[0] for each in ours if each[0] != "input"]
    assert not SHAPELESS.search(text)
    monkeypatch.chdir(runs.folder)
    entry = run_index.read(Path(name), Path("."))
    assert bool(entry.word) == can_be_typed
    assert not entry.word.startswith("-")


def test_values_of_any_kind_are_shown(runs, page):
    runs("a", name=[1], checkpoint={"x": None}, dataset=3, format=None, primary=["tokens"])
    assert "3, None" in page()


def test_a_page_is_made_again_and_no_other_file_replaced(runs, page, command):
    runs("a")
    page()
    runs("b")
    assert 'aria-label="compare b"' in page()
    file = runs.folder / "index.html"
    for write in (
        lambda: file.write_text("<!DOCTYPE html>\n<!-- harness view -->"),
        lambda: file.symlink_to(runs.folder.parent / "elsewhere.html"),
        file.mkdir,
    ):
        file.unlink(missing_ok=True)
        write()
        before = file.read_text() if file.is_file() else None
        code, said = command("view", runs.folder)
        assert (code, said.count("\n")) == (2, 1)
        assert "not made by `harness view`" in said
        assert (file.read_text() if file.is_file() else None) == before
    assert not (runs.folder.parent / "elsewhere.html").exists()


@pytest.mark.parametrize("place", ["nowhere", "empty", "file", "a run"])
def test_a_folder_without_runs_is_one_line(place, tmp_path, command, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("file").write_text("x")
    shutil.copytree(STORED, "a run")
    code, said = command("view", place)
    assert (code, said.count("\n")) == (2, 1)
    assert said.startswith(f"harness: {place}: ")
    assert not list(tmp_path.glob("**/index.html"))


def test_the_default_is_where_runs_are_made(tmp_path, harness):
    shutil.copytree(STORED, tmp_path / "runs/a")
    done = harness("view", "--json")
    assert json.loads(done.stdout) == {"page": "runs/index.html", "runs": 1, "unreadable": 0}
    assert not done.stderr


def test_progress_is_shown_once_it_takes_long(runs, command, monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    for name in "abc":
        runs(name)
    assert "runs " not in command("view", runs.folder)[1]
    monkeypatch.setattr(sys.modules["harness.cli.view"], "SECONDS_WITHOUT_PROGRESS", -1.0)
    assert "runs 3/3" in command("view", runs.folder)[1]
    assert "runs " not in command("view", runs.folder, "--quiet")[1]
