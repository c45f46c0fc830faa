"""The system prompt in Chinese: one setting for every prompt of a run, its plan and its report."""

import json

import pytest
from conftest import configuration, write_jsonl

from harness.configure import read_system_prompt
from harness.data import datasets
from harness.errors import UserError
from harness.evaluation import evaluate, prompts
from harness.models import loading
from harness.parsing import formats
from harness.parsing.named_formats import FORMATS
from train.export import modelfile
from train.rows import prompts_of

ASKED = formats.system_prompt(FORMATS["think"], "id", in_chinese=True)


def test_evaluation_training_and_export_ask_alike():
    config = configuration("system_prompt=chinese", "eval_every=0", "prompts_per_step=1", format="think", limit=2)
    problems = datasets.evaluation_problems(config)
    asked = [formats.messages(each.question, ASKED) for each in problems.problems]
    trained = prompts_of(config, problems, loading.load_tokenizer("embedded"))
    assert [row["prompt"] for row in trained.rows] == asked

    engine = evaluate.open_engine(config, None)
    rendered = [each.prompt for each in prompts.requests(config, problems, engine, adapted=False)]
    assert rendered == [engine.render(each) for each in asked]
    assert f'SYSTEM """{ASKED}"""' in modelfile._as_the_run(config)


def test_another_prompt_is_another_run():
    english, chinese = configuration(format="think"), configuration("system_prompt=chinese", format="think")
    assert english.folder_name != chinese.folder_name


def test_its_report_and_its_plan_name_it(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data = write_jsonl(tmp_path / "d.jsonl", [{"question": "Why?", "answer": "7"}])
    replies = write_jsonl(tmp_path / "r.jsonl", [{"text": "<think>tujuh</think>7"}])
    asked = ("--dataset", data, "--format", "think", "--system-prompt", "chinese")
    code, said = command("run", "--engine", "scripted", "--engine-arg", f"replies={replies}", *asked, "--output", "r")
    assert code == 0, said
    assert json.loads((tmp_path / "r/run.json").read_text())["configuration"]["system_prompt"] == "chinese"
    prompt = f"system: {ASKED}\n\nuser: Why?"
    (row,) = (tmp_path / "r/before/completions.jsonl").read_text().splitlines()
    assert json.loads(row)["prompt_sha"] == formats.prompt_sha(prompt)
    assert "<dt>system_prompt</dt><dd>chinese</dd>" in (tmp_path / "r/report/index.html").read_text()

    capsys.readouterr()
    from harness.cli.app import app

    app(["plan", *map(str, asked), "--details"], standalone_mode=False)
    assert "system_prompt = chinese" in capsys.readouterr().out


def test_a_name_that_is_none_is_a_line(tmp_path):
    assert read_system_prompt("chinese") == "chinese"
    with pytest.raises(UserError, match="--system-prompt zh: give 'default', 'chinese', 'none' or a UTF-8"):
        read_system_prompt("zh")
