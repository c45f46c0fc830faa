"""What help and lists show: every key described, options where they act, tables in the terminal's width."""

import json
import re

import pytest
from typer.testing import CliRunner

from harness.cli import exit_code_of, main
from harness.cli.app import app
from harness.cli.options import OPTIONS, WITHOUT_EFFECT
from harness.cli.tables import entry_lines, sentence_lines, table_lines
from harness.config import Configuration
from harness.plan.seconds import time_shown

METRICS = [
    ("format_strict", "49.3%", "91.7%", "+42.3 pp", "+36.9 … +48.0", "better"),
    ("reward/match_format_approximately (robust)", "-1.20", "2.41", "+3.61", "+3.10 … +4.11", "described"),
]
HEAD = ("metric", "before", "after", "difference", "95 % interval", "verdict")
COUNTS = [("without", "8/20", "40%", "22% … 61%", "en 7, id 8, ms 2, jv 1, tl 1, und 1"), ("with", "1", "2", "3", "id")]
COUNTS_HEAD = ("adapter", "id", "share", "95 % interval (Wilson)", "languages")


def help_of(command: str, width: int) -> str:
    return (
        CliRunner().invoke(app, [*command.split(), "--help"], terminal_width=width, env={"COLUMNS": str(width)}).output
    )


def test_every_key_has_a_description():
    assert not [key for key, field in Configuration.model_fields.items() if not field.description]


def test_settings_name_every_key_with_its_type_and_default(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    lines = CliRunner().invoke(app, ["settings"]).output.splitlines()
    assert {line.split()[0] for line in lines[3:] if line} == {*Configuration.model_fields}
    (rank,) = [line for line in lines if line.startswith("lora_rank ")]
    assert rank.split(maxsplit=1)[1] == "rank of the adapter's matrices (integer; default 8)"


def test_the_schema_of_recipes_is_json():
    schema = json.loads(CliRunner().invoke(app, ["settings", "--schema"]).output)
    assert schema["properties"].keys() == Configuration.model_fields.keys()
    assert not schema["additionalProperties"]


@pytest.mark.parametrize("width", [80, 140])
@pytest.mark.parametrize("command", ["", "run", "plan", "ask", "gate", "rewards score"])
def test_help_is_as_wide_as_the_terminal(command, width):
    lines = help_of(command, width).splitlines()
    assert max(map(len, lines)) == width


@pytest.mark.parametrize("command", [*WITHOUT_EFFECT, "run", "plan"])
def test_help_leaves_out_what_does_not_act(command):
    shown = set(re.findall(r"--([a-z-]+)", help_of(command, 140)))
    hidden = WITHOUT_EFFECT.get(command, set())
    assert not {name.replace("_", "-") for name in hidden} & shown
    assert {name.replace("_", "-") for name in OPTIONS.keys() - hidden - {"language"}} <= shown


@pytest.mark.parametrize(
    ("option", "value"),
    [("samples", "samples"), ("seed", "seed"), ("engine", "engine"), ("trainer", "trainer"), ("system_prompt",) * 2],
)
def test_defaults_in_help_are_those_of_the_configuration(option, value):
    assert OPTIONS[option].default == str(Configuration.model_fields[value].default)


@pytest.mark.parametrize("width", [0, 60, 80, 140])
@pytest.mark.parametrize(("head", "rows"), [(HEAD, METRICS), (COUNTS_HEAD, COUNTS)])
def test_tables_fit_and_break_no_word(head, rows, width):
    lines = table_lines(head, rows, width)
    words = {word for row in (head, *rows) for cell in row for word in cell.split()}
    assert {word for line in lines for word in line.split() if set(word) != {"-"}} == words
    assert not width or max(map(len, lines)) <= width
    if width in (0, 140):
        assert len(lines) == len(rows) + 2


def test_numbers_stay_below_each_other_where_a_name_has_its_own_line():
    lines = table_lines(HEAD, METRICS, 80)
    assert lines[3:7] == [
        "format_strict",
        "  49.3%   91.7%    +42.3 pp  +36.9 … +48.0  better",
        "reward/match_format_approximately (robust)",
        "  -1.20    2.41       +3.61  +3.10 … +4.11  described",
    ]


def test_sentences_and_entries_break_between_words():
    text = "in_one_word_of_many_letters and " * 5
    assert sentence_lines(text, 0) == [text]
    assert max(map(len, sentence_lines(text, 40))) <= 40
    assert entry_lines([("time", "a b"), ("machine", "c")], 80) == ["time     a b", "machine  c"]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.2, "0 s"),
        (15.4, "15 s"),
        (59.6, "1 min 0 s"),
        (131.7, "2 min 12 s"),
        (4800, "1 h 20 min"),
        (90000, "25 h 0 min"),
    ],
)
def test_times_as_people_read_them(seconds, shown):
    assert time_shown(seconds) == shown


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands(shell, monkeypatch, capsys):
    words = {"COMP_WORDS": "harness comp", "COMP_CWORD": "1", "_TYPER_COMPLETE_ARGS": "harness comp"}
    for name, value in {**words, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("_HARNESS_COMPLETE", f"complete_{shell}")
    with pytest.raises(SystemExit):
        exit_code_of(lambda: app(prog_name="harness", standalone_mode=False))
    assert "compare" in capsys.readouterr().out


def test_windows_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr("harness.cli.sys.platform", "win32")
    codes = []
    monkeypatch.setattr("harness.cli.end_with", lambda command, stop_seconds: codes.append(exit_code_of(command)))
    main()
    assert codes == [2]
    assert capsys.readouterr().err == ("harness: Windows itself is not supported: install and run it inside WSL\n")


def test_a_value_that_is_none_of_an_options_names_them(command):
    code, said = command("report", "nowhere", "--lang", "xx")
    assert (code, said) == (
        2, "harness: Invalid value for '--lang': 'xx' is not one of 'en', 'zh': see harness report --help\n"
    )  # fmt: skip
