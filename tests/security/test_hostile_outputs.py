"""Hostile texts in what other programs read: each output is parsed as its reader does, and holds them as text alone.

Pages, Markdown, model cards and plots are in test_hostile_texts.py, the command line and a gate's files in
test_hostile_arguments.py.
"""

import json
import re
import zipfile
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest
from conftest import configuration, write_jsonl
from hostile import HARMLESS, TEXTS, Structure, called, controls
from scored_sides import side

from harness.data.samples import read_samples
from harness.notebook import StoredRun
from harness.storage.files import write_json
from harness.storage.run_folder import Run
from reports import inspect_log
from train.export import modelfile

WORDS = {name: text[:2000] for name, text in TEXTS.items()}
hostile = pytest.mark.parametrize("text", WORDS.values(), ids=WORDS)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    """The record of a run; its sides are made by each test."""
    return Run.create(tmp_path_factory.mktemp("run") / "r", configuration(), "harness run")


def sides_of(text: str):
    """Two sides of which all that can be anybody's text is `text`."""
    for name, right in (("before", [1, 0] * 10), ("after", [1] * 20)):
        made = side(right, name=f"{name}{text[:60]}", **{f"reward/{text}": [0.5] * 20})
        completions = tuple(
            replace(each, problem_id=f"{text}{each.problem_id}", question=f"{text}?", answer=text, text=text, kind=text)
            for each in made.completions
        )
        scores = tuple(replace(each, problem_id=f"{text}{each.problem_id}", extracted=text) for each in made.scores)
        settings = configuration().model_dump(mode="json") | {"dataset": text, "checkpoint": text, "name": text}
        yield replace(made, completions=completions, scores=scores, settings=settings)


@hostile
def test_a_notebook_shows_it_as_text(text, tmp_path):
    found, ours = (
        Structure(StoredRun(tmp_path / "r", list(sides_of(each)))._repr_html_()) for each in (text, HARMLESS)
    )
    assert found.elements == ours.elements
    assert found.addresses == ours.addresses == []


@hostile
def test_a_log_of_inspect_ai_is_a_zip_of_json_whose_members_stay_in_it(run, text, tmp_path):
    file = tmp_path / "log.eval"
    first, _ = sides_of(text)
    inspect_log.write(run, first, file)
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert len({*names}) == len(names) == len(first.completions) + 2
        for name in names:
            assert not PurePosixPath(name).is_absolute()
            assert ".." not in PurePosixPath(name).parts
            assert len(PurePosixPath(name).parts) <= 2
            assert "\\" not in name
            assert len(name.encode()) < 250
            assert not controls(name, allowed="")
        samples = [json.loads(archive.read(name)) for name in names if name.startswith("samples/")]
        archive.extractall(tmp_path / "out")
    assert {each["id"] for each in json.loads((tmp_path / "out/summaries.json").read_text())} == {
        each["id"] for each in samples
    }
    valid = text.encode("utf-8", "replace").decode()
    assert [each["metadata"]["problem_id"].startswith(valid) for each in samples] == [True] * 20
    assert {each.completion for each in read_samples(file)} == {valid}


def read_modelfile(text: str) -> list[tuple[str, str]]:
    """The commands of a Modelfile, as Ollama's parser tells them apart."""
    found, lines = [], text.split("\n")
    while lines:
        name, _, value = lines.pop(0).partition(" ")
        while value.startswith('"""') and not (len(value) >= 6 and value.endswith('"""')) and lines:
            value += "\n" + lines.pop(0)
        if name:
            found.append((name, value.removeprefix('"""').removesuffix('"""')))
    return found


@hostile
def test_a_modelfile_has_no_line_of_it(text):
    config = configuration().model_copy(update={"system_prompt": f"{text}{{}}"})
    found, ours = (
        read_modelfile(modelfile.lines_of("x.gguf", [f"<{each}>", each, "</s>"], config)) for each in (text, HARMLESS)
    )
    assert [value for name, value in found if name == "FROM"] == ["./x.gguf"]
    stops, others = ([each for each in found if each[1].startswith("stop ") is is_stop] for is_stop in (True, False))
    assert {name for name, _ in found} <= {"FROM", "PARAMETER", "SYSTEM"}
    assert [value for name, value in others if name == "PARAMETER"] == [
        value for name, value in ours if name == "PARAMETER" and not value.startswith("stop ")
    ]
    assert all(re.fullmatch(r'stop "[^"\n\r]*"', value) for _, value in stops)
    assert ("PARAMETER", 'stop "</s>"') in stops


@hostile
def test_json_on_stdout_is_one_line_that_reads_back(text, tmp_path):
    rows = [{"question": f"{text} 1 + 1?", "answer": text}, {"question": "2?", "answer": "2"}]
    data, replies = write_jsonl(tmp_path / "d.jsonl", rows), write_jsonl(tmp_path / "r.jsonl", [{"text": text}])
    command = ["eval", "--recipe", "tiny", "--engine", "scripted", "--engine-arg", f"replies={replies}", "--dataset"]
    code, said = called(*command, data, "--output", tmp_path / "run", "--quiet", "--json")
    lines = said.splitlines()
    assert code == 0, said
    assert json.loads(lines[-1])["run"] == str(tmp_path / "run")
    assert not controls(said)
    code, said = called("grade", "--input", tmp_path / "run/before/completions.jsonl", "--output", tmp_path / "g.jsonl",
                        "--dataset", "gsm8k", "--format", "think", "--json")  # fmt: skip
    assert code == 0, said
    assert json.loads(said.splitlines()[-1])["rows"] >= 1


def test_json_hides_what_a_log_s_reader_takes_for_a_command(tmp_path):
    folder = tmp_path / "##[add-mask]x ##vso[x]"
    write_json(folder / "r" / "run.json", {})
    code, said = called("view", folder, "--json")
    assert code == 0
    assert "##" not in said
    assert json.loads(said.splitlines()[-1])["page"] == str(folder / "index.html")


def test_no_script_of_ours_takes_a_text_unquoted():
    """A Slurm job's and a workflow's variables are quoted; OPTIONS alone is words on purpose."""
    folder = Path(__file__).parents[2] / "harness" / "examples"
    script = (folder / "slurm.sbatch").read_text()
    assert set(re.findall(r"(?<![\"'/\-\w{])\$\{?(\w+)", script)) == {"OPTIONS"}
    assert not re.search(r"run:.*\$\{\{", (folder / "gate.yml").read_text())
