"""Hostile words of a user's, a reply's or a gate's are text on the command line and in every file that it writes."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from conftest import write_jsonl
from hostile import BY_ITSELF, TEXTS, called, controls
from scored_sides import side

from harness.configure import configure
from harness.statistics import gate
from reports import gate as gate_reports


def in_argument(text: str) -> str:
    """As much of a text as a process can be given."""
    return text.replace("\0", "").replace("\ud800", "\udcff").replace("\udfff", "\udcfe")[:2000]


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_mistake_with_it_is_one_clean_line(text, tmp_path, monkeypatch):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    word = in_argument(text)
    scripted = ("eval", "--engine", "scripted", "--engine-arg", "replies=r.jsonl")
    for command in (
        ("eval", "--dataset", word), ("eval", "--model", word), ("eval", "--format", word), ("eval", "--set", word),
        ("eval", "--set", f"name={word}", "--dataset", "no.csv"), (*scripted, "--engine-arg", f"{word}=1"),
        ("eval", "--adapter", word), ("eval", "--recipe", word), ("report", word), ("gate", word, "--baseline", word),
        ("compare", word, word), ("rewards", "explain", "--preset", word), ("rewards", "check", "--corpus", word),
        ("view", word), ("export", "--to", word), (word,),
    ):  # fmt: skip
        code, said = called(*command)
        assert (code, said.count("\n")) == (2, 1), (command, said)
        assert not controls(said)
    assert [*tmp_path.rglob("*")] == [here]


@pytest.mark.parametrize(
    "command",
    [
        "eval --dataset circle", "eval --data circle --dataset gsm8k", "eval --model ./circle", "eval --recipe circle",
        "eval --adapter circle", "eval --output circle", "eval --output circle/x", "eval --system-prompt circle",
        "eval --engine scripted --engine-arg replies=circle", "eval --set rewards=circle.py",
        "eval --set chat_template=circle.jinja", "run --also circle", "plan --data circle --dataset gsm8k",
        "run --before-after --set sft_dataset=gsm8k --set sft_data=circle", "report circle", "score circle",
        "compare circle circle", "gate circle --baseline circle", "view circle", "crosscheck circle",
        "grade --input circle --output out", "rewards score circle --preset circle.py", "rewards check --corpus circle",
        "rewards explain --preset circle.py", "ask --model ./circle x", "languages --adapter circle --output out",
        "export circle --to lora --output out", "export --model tiny --adapter circle --to lora --output out",
    ],
)  # fmt: skip
def test_a_link_that_leads_to_itself_is_one_line(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("circle", "circle.py", "circle.jinja"):
        (tmp_path / name).symlink_to(name)
    code, said = called(*command.split())
    assert (code, said.count("\n")) == (2, 1), said


@pytest.mark.parametrize("output", ["/dev/null", "/dev/full", "/proc/x", "/", "..", "/dev/null/x", "x" * 300])
def test_a_folder_that_cannot_be_a_run_s_is_one_line(output, tmp_path, monkeypatch):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    (tmp_path / "r.jsonl").write_text('{"text": "x"}\n')
    arguments = ("--engine", "scripted", "--engine-arg", f"replies={tmp_path / 'r.jsonl'}", "--limit", "1", "--quiet")
    code, said = called("eval", *arguments, "--output", output)
    assert (code, said.count("\n")) == (2, 1), said
    assert [*tmp_path.rglob("*")] == [here, tmp_path / "r.jsonl"]


@pytest.mark.parametrize(
    "line",
    [
        f"steps = {'9' * 400}", "steps = -5", "steps = 1e300", "temperature = inf", "learning_rate = nan",
        "name = 2000-01-01", "samples = 1000000000000", f"seed = {'9' * 24}",
        "training_seeds = 100000000", f"also = {'[' * 100_000}", f"[a{'.a' * 50_000}]", "lora_rank = 1000000000",
        "".join(f"k{number} = 1\n" for number in range(10_000)), '[chat_template_kwargs]\nx = {}',
    ],
    ids=lambda line: line[:20].replace("\n", " "),
)  # fmt: skip
def test_a_recipe_beyond_all_bounds_is_one_line(line, tmp_path):
    (tmp_path / "recipe.toml").write_text(f'checkpoint = "embedded"\n{line}\n')
    code, said = called("plan", "--recipe", tmp_path / "recipe.toml")
    assert (code, said.count("\n")) == (2, 1), said
    assert len(said) < 1000


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_run_folder_stays_where_it_belongs(text):
    name = configure("tiny", None, {"name": text, "dataset": f"{text}.csv"}, []).folder_name
    assert Path(name).name == name
    assert not name.startswith((".", "-"))
    assert not controls(name, allowed="")
    assert len(name.encode()) < 200


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_gate_s_files_hold_it_as_text(text):
    name = f"reward/{text}"
    values = {name: [1.0] * 40, "format_strict": [1.0] * 20 + [0.0] * 20}
    verdict = gate.check(
        side([1] * 40, **values), side([1] * 40, name=text, **values | {"format_strict": [1.0] * 40}), {name: 0.0}
    )
    suite = ElementTree.fromstring(gate_reports.junit(verdict).encode())
    assert {each.tag for each in suite.iter()} <= {
        "testsuite", "properties", "property", "testcase", "failure", "system-out",
    }  # fmt: skip
    assert suite.attrib["tests"] == "3"
    made = gate_reports.markdown(verdict)
    rows = [line for line in made.splitlines() if line.startswith("|")]
    assert len(rows) == 5
    assert {row.replace("\\\\", "").replace("\\|", "").count("|") for row in rows} == {8}
    assert not controls(made)
    assert not BY_ITSELF.search(made)


def test_a_reply_that_is_drawn_on_the_terminal_is_clean(tmp_path):
    for name, text in TEXTS.items():
        replies = write_jsonl(tmp_path / "r.jsonl", [{"text": text}])
        code, said = called("ask", "--engine", "scripted", "--engine-arg", f"replies={replies}", "How many?")
        assert (code, controls(said)) == (0, set()), name
        (tmp_path / "t").write_bytes(text.encode("utf-8", "replace"))
        code, said = called("rewards", "explain", "--preset", "gemma3", "--answer", in_argument(text), tmp_path / "t")
        assert (code, controls(said)) == (0, set()), name


def test_no_table_is_written_that_a_spreadsheet_would_calculate():
    root = Path(__file__).parent.parent.parent
    for file in (each for package in ("harness", "train", "reports") for each in (root / package).rglob("*.py")):
        assert not re.search(r"csv\.(writer|DictWriter)|\.to_(csv|excel)\(", file.read_text()), file
