"""Hostile texts stay texts, wherever a model, a dataset or a name can put them: nothing of theirs acts."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from conftest import write_jsonl
from hostile import BY_ITSELF, HARMLESS, TEXTS, Structure, called, controls
from markdown_it import MarkdownIt

from harness.console.markdown import one_line
from harness.models.checkpoints import locate
from harness.statistics.compare import compare_each
from harness.storage.files import read_json, write_json
from harness.storage.run_folder import Run
from reports import comparison_view, page, plots, run_view, training_plots
from reports.texts import using
from reports.training_view import panels_of
from train.export import Export
from train.export.card import model_card

# What a disk takes as a name, as much of each kind as there is room for.
NAME = "\x1b[31m \u202e<img src=x onerror=alert(1)>|[x](y){{ 7*7 }}@me\n`id` '\""
LAYOUT = "<start_working_out>\n{}\n<end_working_out>\n<SOLUTION>{}</SOLUTION>"
ONCE = ("script", "form", "meta", "title", "html", "head", "body", "main", "input")


def made(folder: Path, name: str, texts: list[str]) -> tuple[Path, str]:
    """A run with two sides whose questions, answers and replies are `texts`, and all that making it printed.

    Dataset, checkpoint and run folder are called `name`.
    """
    rows = [{"question": f"{text} 1 + {n}?", "answer": text, "id": text} for n, text in enumerate(texts)]
    data = write_jsonl(folder / f"{name}.jsonl", rows)
    replies = write_jsonl(folder / "replies.jsonl", [{"text": LAYOUT.format(text, text)} for text in texts])
    model = shutil.copytree(locate("embedded"), folder / name)
    run = folder / f"{name}-run"
    command = ["eval", "--model", model, "--recipe", "tiny", "--engine", "scripted", "--dataset", data, "--verbose"]
    command += ["--engine-arg", f"replies={replies}", "--output", run, "--json"]
    code, said = called(*command)
    assert code == 0, said
    shutil.copytree(run / "before", run / "after")
    journal = [json.loads(line) for line in (run / "after/completions.jsonl").read_text().splitlines()]
    write_jsonl(
        run / "after/completions.jsonl", [row | {"text": row["text"].replace("<SOL", "SOL")} for row in journal]
    )
    record = read_json(run / "run.json")
    for part in ("stages", "provenance"):
        record[part]["after"] = record[part]["before"]
    write_json(run / "run.json", record)
    for stage in ("score", "report"):
        code, more = called(stage, run)
        said += more
        assert code == 0, said
    return run, said


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return made(tmp_path_factory.mktemp("hostile"), NAME, [text for text in TEXTS.values() if len(text) < 1000])


@pytest.fixture(scope="module")
def harmless(tmp_path_factory):
    """The like of it without a hostile text: what is ours of a page."""
    return made(tmp_path_factory.mktemp("harmless"), HARMLESS, [f"{HARMLESS} {n}" for n in range(30)])[0]


def assert_ours(text: str, like: str) -> None:
    """A page has no other elements and attributes than a harmless one like it, and asks nobody for anything."""
    found, ours = Structure(text), Structure(like)
    tags, our_tags = ([tag for tag, *_ in each.elements] for each in (found, ours))
    attributes, our_attributes = ({name for _, *names in each.elements for name in names} for each in (found, ours))
    assert (set(tags) - set(our_tags), attributes - our_attributes - {"colspan"}) == (set(), set())
    assert [tags.count(tag) for tag in ONCE] == [our_tags.count(tag) for tag in ONCE]
    assert not [address for address in found.addresses if not address.startswith("#")]
    assert not re.search(
        r"url\((?!#)|@import", re.sub(r"<dd>.*?</dd>|<pre.*?</pre>|<h1>.*?</h1>", "", text, flags=re.S)
    )
    assert not controls(text)


def test_a_page_has_no_element_of_a_text_s(run, harmless):
    whole = (run[0] / "report/index.html").read_text()
    assert_ours(whole, (harmless / "report/index.html").read_text())
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="(.*?)"', whole)
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-")
    assert policy.endswith("base-uri 'none'; form-action 'none'")


def test_a_comparison_s_page_neither(run, harmless, tmp_path):
    for folder, place in (("x", run[0]), ("y", harmless)):
        code, said = called("compare", place / "before", place / "after", "--output", tmp_path / folder)
        assert (code, controls(said)) == (0, set()), said
    assert_ours((tmp_path / "x/index.html").read_text(), (tmp_path / "y/index.html").read_text())


def test_a_terminal_gets_no_control_character(run):
    _, said = run
    assert "predicted" in said
    assert not controls(said)


@pytest.mark.parametrize(
    "command",
    [("score",), ("report",), ("gate", "--baseline"), ("compare", "--output", "r"), ("export", "--to", "lora")],
    ids=lambda command: command[0],
)
def test_no_command_prints_one(run, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name, *options = command
    given = [run[0] / "before"] if name == "gate" else []
    place = run[0] / "after" if name == "gate" else run[0]
    code, said = called(name, place, *options, *given)
    assert code in (0, 2, 3), said
    assert said
    assert not controls(said)


def shown(text: str) -> str:
    """A text, or a harmless one where there is nothing in it to be seen, for which a report has no place."""
    return text if one_line(text).strip() else HARMLESS


@pytest.fixture(scope="module")
def views(run):
    """The view of a run's report and that of a comparison's, and their plots."""
    stored = Run.open(run[0])
    sides = stored.evaluations()
    run_s = run_view.build(stored, sides)
    compared = comparison_view.build(sides, sides, compare_each(sides[0], sides[1:]), "harness compare")
    return (
        ("report", run_s, {each.name: each for each in page._plots_of_run(run_s)}),
        ("comparison", compared, {each.name: each for each in page._plots_of_comparison(compared)}),
    )


def named(template: str, view, text: str):
    """A view in which all that can be anybody's text is `text`."""
    rows = tuple(replace(row, name=text, note=text) for row in view.rows) if template == "report" else ()
    if template == "report":
        facts = {title: {text: text} for title in ("Seconds", "Program", "Stage before")}
        parts = {text: tuple(replace(part, name=text) for part in next(iter(view.parts.values())))}
        return replace(
            view, title=text, warnings=(text,), notes=(text,), command=text, rows=rows, facts=facts, parts=parts,
            language_note=text,
        )  # fmt: skip
    sides = tuple(replace(each, name=text) for each in view.sides)
    against = tuple(
        replace(each, name=text, warnings=(text,), rows=(replace(each.rows[0], name=text, note=text),))
        for each in view.against
    )
    return replace(
        view, verdict=text, baseline=text, sides=sides, against=against, settings={text: (text, text)},
        in_order=(text, text), command=text, standings=(replace(view.standings[0], name=text),),
    )  # fmt: skip


def rendered(template: str, suffix: str, view, figures, text: str) -> str:
    made = page.rendered(f"{template}.{suffix}", named(template, view, text), figures, "")
    return made.encode("utf-8", "replace").decode()


def of_breaks(elements: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Elements without the places where a long name may break."""
    return [each for each in elements if each != ("wbr",)]


@pytest.fixture(params=["en", "zh"])
def language(request):
    """Both languages, as a translated sentence takes names too."""
    with using(request.param):
        yield request.param


@pytest.mark.usefixtures("language")
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_names_leave_a_page_as_it_is(views, text):
    for template, view, figures in views:
        found = Structure(rendered(template, "html", view, figures, shown(text)))
        ours = Structure(rendered(template, "html", view, figures, HARMLESS))
        assert of_breaks(found.elements) == of_breaks(ours.elements)
        assert found.addresses == ours.addresses


@pytest.mark.usefixtures("language")
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_names_leave_a_report_for_github_as_it_is(views, text):
    reader = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    for template, view, figures in views:
        made = rendered(template, "md", view, figures, shown(text))
        found, ours = (
            Structure(reader.render(each)) for each in (made, rendered(template, "md", view, figures, HARMLESS))
        )
        assert found.elements == ours.elements
        assert found.addresses == ours.addresses
        lines = [line for line in made.splitlines() if not line.startswith("    ")]
        assert not [line for line in lines if BY_ITSELF.search(line)]
        assert not controls(made)


def test_a_stored_report_for_github_is_clean(run):
    made = (run[0] / "report/report.md").read_text()
    assert not controls(made)
    assert "onerror" in made


def test_plots_take_every_name(run):
    sides = Run.open(run[0]).evaluations()
    texts = list(TEXTS.values())
    log = [{"step": 1, "completions/mean_length": 1.0, **{f"rewards/{text}/mean": 1.0 for text in texts}}]
    metrics = sides[0].metrics
    drawn = [
        plots.standings([replace(sides[0], name=text) for text in texts], "accuracy_strict"),
        plots.metric_bars({"before": {f"pass@{text}": metrics["accuracy_strict"] for text in texts}}),
        training_plots.language_bars({"before": dict.fromkeys(texts, 3)}, 20),
        training_plots.training_curves(panels_of(log, ()), 1),
    ]
    for plot in drawn:
        elements = ElementTree.fromstring(plot.svg).iter()
        tags = {each.tag.rpartition("}")[2] for each in elements}
        assert tags <= {"svg", "defs", "style", "g", "path", "use", "text", "tspan", "clipPath", "rect"}
        found = Structure(plot.svg)
        assert not {name for _, *names in found.elements for name in names if name.startswith("on")}
        assert all(address.startswith("#") for address in found.addresses)
        assert not controls(plot.svg)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_model_card_holds_it_as_text(run, text, tmp_path):
    word = shown(text)[:2000]
    cards = []
    for given in (word, HARMLESS):
        folder = tmp_path / f"r{len(cards)}"
        compared, record = read_json(run[0] / "comparison.json"), read_json(run[0] / "run.json")
        metrics = {name: compared["metrics"][name] for name in ("tokens", "accuracy_strict")}
        write_json(folder / "comparison.json", compared | {"metrics": metrics | {given: metrics["tokens"]}})
        means = read_json(run[0] / "after/metrics.json")
        write_json(folder / "after/metrics.json", means | {given: means["tokens"]})
        record["configuration"] |= {"dataset": given, "split": given, "rewards": given}
        record["stages"]["train"] = record["stages"]["after"]
        write_json(folder / "run.json", record | {"command": f"harness run {given}", "files": {}})
        cards.append(model_card(Export(given, given[:60], "a", "lora", (), Run.open(folder), ""), {}))
    heads, bodies = zip(*(card.removeprefix("---\n").split("\n---\n", 1) for card in cards), strict=True)
    found, ours = (yaml.safe_load(head)["model-index"] for head in heads)
    assert found[0]["name"] == one_line(word)
    assert len(found[0]["results"][0]["metrics"]) == len(ours[0]["results"][0]["metrics"])
    reader = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    pages = [Structure(reader.render(body)) for body in bodies]
    assert pages[0].elements == pages[1].elements
    assert not controls(bodies[0])
    assert not [line for line in bodies[0].splitlines() if BY_ITSELF.search(line) and not line.startswith("    ")]
