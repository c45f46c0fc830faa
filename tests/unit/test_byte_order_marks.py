"""Files that an editor on Windows has saved: the mark at their beginning is no part of what they say."""

import json

import pytest
from conftest import configuration, write_jsonl

from harness import configure as settings
from harness.cli import exit_code_of
from harness.cli.app import app
from harness.data import datasets

BOM = "\ufeff"


def test_a_recipe_its_template_and_a_system_prompt_are_read_without_it(tmp_path):
    (tmp_path / "own.jinja").write_text(f"{BOM}{{{{ messages[-1].content }}}}", encoding="utf-8")
    (tmp_path / "own.toml").write_text(f'{BOM}checkpoint = "embedded"\nchat_template = "own.jinja"\n', encoding="utf-8")
    (tmp_path / "system.txt").write_text(f"{BOM}Be brief.", encoding="utf-8")
    made = settings.configure(None, str(tmp_path / "own.toml"), {}, [])
    assert (made.checkpoint, made.chat_template) == ("embedded", "{{ messages[-1].content }}")
    assert settings.read_system_prompt(str(tmp_path / "system.txt")) == "Be brief."


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv"])
def test_data_are_read_without_it(tmp_path, suffix):
    texts = {
        "jsonl": '{"question": "Why?", "answer": 7}\n',
        "json": '[{"question": "Why?", "answer": 7}]',
        "csv": "question,answer\nWhy?,7\n",
    }
    (tmp_path / f"d.{suffix}").write_text(BOM + texts[suffix], encoding="utf-8")
    (problem,) = datasets.evaluation_problems(configuration(dataset=str(tmp_path / f"d.{suffix}"))).problems
    assert (problem.question, problem.answer) == ("Why?", "7")


def test_one_completion_is_explained_without_it(tmp_path, capsys):
    reply = "<start_working_out>a<end_working_out><SOLUTION>7</SOLUTION>"
    (tmp_path / "plain.txt").write_text(reply, encoding="utf-8")
    (tmp_path / "marked.txt").write_text(BOM + reply, encoding="utf-8")
    said = []
    for name in ("plain", "marked"):
        assert cli_exit("rewards", "explain", "--preset", "gemma3", "--answer", "7", str(tmp_path / f"{name}.txt")) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]


def cli_exit(*words):
    return exit_code_of(lambda: app([*words], standalone_mode=False))


def test_rewards_and_replies_are_read_without_it(tmp_path, command):
    rows = [{"id": "1", "prompt": "?", "completion": "7", "answer": "7"}]
    file = write_jsonl(tmp_path / "in.jsonl", rows)
    file.write_bytes(BOM.encode() + file.read_bytes())
    out = tmp_path / "out.jsonl"
    assert command("rewards", "score", "--preset", "gemma3", "--input", file, "--output", out)[0] == 0
    assert json.loads(out.read_text())["id"] == "1"
