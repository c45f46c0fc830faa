"""harness.trl: a training of another program's, measured before, during and after, goes as it would without."""

import json
from types import SimpleNamespace

import pytest
import torch
import transformers
from conftest import configuration
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer

import harness as package
from harness.data.datasets import evaluation_problems, training_problems
from harness.errors import UserError
from harness.evaluation.prompts import system_text
from harness.models.checkpoints import locate
from harness.parsing import formats
from harness.rewards import functions
from harness.storage.run_folder import Run
from harness.trl import MeasureCallback

FOLDER = locate("embedded")
SETTINGS = {"dataset": "word-problems", "limit": 5, "max_tokens": 48, "quiet": True}
LORA = {"r": 8, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
COMMON = {"max_steps": 3, "logging_steps": 1, "report_to": [], "use_cpu": True, "seed": 3, "disable_tqdm": True,
          "save_strategy": "no"}  # fmt: skip


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    config = configuration()
    problems = training_problems(config)[0].problems[:24]
    return [
        {"prompt": formats.messages(each.question, system_text(config)), "answer": each.answer} for each in problems
    ]


def grpo(rows, folder, callbacks, lora=True, **more):
    transformers.set_seed(3)
    args = GRPOConfig(
        str(folder), per_device_train_batch_size=4, num_generations=4, max_completion_length=32, **COMMON | more
    )
    return GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32),
        processing_class=AutoTokenizer.from_pretrained(FOLDER),
        reward_funcs=functions("gemma3"),
        args=args,
        train_dataset=Dataset.from_list(rows),
        peft_config=LoraConfig(**LORA) if lora else None,
        callbacks=callbacks,
    )


def figures(trainer) -> list[tuple]:
    """What a training came to: each step's figures but its time, then its weights."""
    names = ("loss", "grad_norm", "reward", "entropy", "completions/mean_length")
    steps = [tuple(row[name] for name in names) for row in trainer.state.log_history if "reward" in row]
    return [*steps, *(each.sum().item() for each in trainer.model.parameters() if each.requires_grad)]


def texts(folder, side) -> dict:
    return {each.place: each.text for each in Run.open(folder).completions(side)}


# An adapter; and all weights, with TRL's default of gradient checkpointing and a second model for the KL term.
WAYS = [
    (True, {"gradient_checkpointing": False, "learning_rate": 0.1}),
    (False, {"beta": 0.04, "learning_rate": 0.01}),
]


@pytest.mark.parametrize(("lora", "more"), WAYS)
def test_grpo_is_measured_and_goes_as_without(rows, tmp_path, lora, more):
    alone = grpo(rows, tmp_path / "o", [], lora, **more)
    alone.train()
    callback = MeasureCallback(output=tmp_path / "r", eval_every=2, eval_problems=3, **SETTINGS)
    with pytest.raises(UserError, match="nothing is measured yet"):
        _ = callback.result
    measured = grpo(rows, tmp_path / "o", [callback], lora, **more)
    measured.train()
    assert len(figures(alone)) > 3
    assert figures(measured) == figures(alone)

    run = callback.result
    assert [side.name for side in run.sides] == ["before", "after"]
    base = AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    package.evaluate(base, tokenizer, output=tmp_path / "base", **SETTINGS)
    dtypes, forward = set(), measured.model.forward
    layer = measured.model.get_submodule("base_model.model.model.norm" if lora else "model.norm")
    layer.register_forward_hook(lambda _, inputs, output: dtypes.add(output.dtype))
    package.evaluate(measured.model, tokenizer, output=tmp_path / "trained", **SETTINGS)
    assert dtypes == {torch.float32}
    assert measured.model.forward is forward
    assert texts(tmp_path / "r", "before") == texts(tmp_path / "base", "before")
    trained = texts(tmp_path / "trained", "after" if lora else "before")
    assert texts(tmp_path / "r", "after") == trained != texts(tmp_path / "base", "before")

    page = (tmp_path / "r/report/index.html").read_text()
    assert "Trained by a program of its own (GRPOConfig)" in page
    assert (tmp_path / "r/report/plots/training.png").is_file()
    log, probes = (
        [json.loads(line) for line in (tmp_path / "r/train" / name).open()] for name in ("log.jsonl", "probes.jsonl")
    )
    assert [row["step"] for row in log] == [1, 2, 3]
    assert [row["step"] for row in probes] == [0, 2]
    assert all(len(row["correct"]) == 3 for row in probes)
    effective = json.loads((tmp_path / "r/train/effective_config.json").read_text())
    assert effective["arguments"]["max_steps"] == 3
    assert (effective["trainable_parameters"] < effective["parameters"]) == lora
    assert "harness.trl.MeasureCallback(eval_every=2" in json.loads((tmp_path / "r/run.json").read_text())["command"]


def test_sft_on_what_is_measured_is_called_out(tmp_path):
    """Of the five measured problems, two are in the training."""
    config = configuration(limit=5)
    seen = evaluation_problems(config).problems[:2]
    rows = [{"text": f"{each.question} {each.answer}"} for each in (*seen, *training_problems(config)[0].problems[:8])]
    callback = MeasureCallback(output=tmp_path / "r", **SETTINGS)
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32),
        processing_class=AutoTokenizer.from_pretrained(FOLDER),
        args=SFTConfig(str(tmp_path / "o"), learning_rate=0.01, **COMMON),
        train_dataset=Dataset.from_list(rows),
        callbacks=[callback],
    )
    trainer.train()
    assert texts(tmp_path / "r", "before") != texts(tmp_path / "r", "after")
    said = "2 of the 5 measured problems are in the training data: measure others"
    assert said in (tmp_path / "r/report/index.html").read_text().split("</header>")[0]
    assert callback.result.comparison is not None


MISTAKES = [
    ({}, {"world_size": 2}, {}, "measures in one process, this training has 2"),
    ({}, {}, {"global_step": 4}, "continues after step 4, and there is no measurement from before it"),
    ({"eval_every": 1, "limit": None}, {}, {}, "all 300 problems of word-problems, test, are measured"),
    ({"eval_every": -1}, {}, {}, "recipe key eval_every = -1: "),
]


@pytest.mark.parametrize(("settings", "args", "state", "message"), MISTAKES)
def test_mistakes_are_one_line(tmp_path, settings, args, state, message):
    callback = MeasureCallback(output=tmp_path / "r", **SETTINGS | settings)
    begin = SimpleNamespace(**{"world_size": 1} | args), SimpleNamespace(**{"global_step": 0} | state), None
    model = AutoModelForCausalLM.from_pretrained(FOLDER)
    with pytest.raises(UserError, match=message):
        callback.on_train_begin(*begin, model=model, processing_class=AutoTokenizer.from_pretrained(FOLDER))
    assert not (tmp_path / "r").exists()


def test_a_wrong_setting_is_named_before_there_is_a_trainer():
    with pytest.raises(UserError, match="unknown setting 'lmit': did you mean 'limit'"):
        MeasureCallback(lmit=3)


def test_a_training_that_continues_keeps_its_measurement_from_before(rows, tmp_path):
    """The one of its first end is not that of its second."""
    settings = {"output": tmp_path / "r", **SETTINGS}
    saves = {"save_strategy": "steps", "save_steps": 2, "learning_rate": 0.1, "lr_scheduler_type": "constant"}
    grpo(rows, tmp_path / "o", [MeasureCallback(**settings)], **saves).train()
    first = {side: (tmp_path / "r" / side / "completions.jsonl").read_bytes() for side in ("before", "after")}
    again = grpo(rows, tmp_path / "o", [MeasureCallback(**settings)], **saves | {"max_steps": 5})
    again.train(resume_from_checkpoint=str(tmp_path / "o/checkpoint-2"))
    assert (tmp_path / "r/before/completions.jsonl").read_bytes() == first["before"]
    assert (tmp_path / "r/after/completions.jsonl").read_bytes() != first["after"]
    package.evaluate(again.model, AutoTokenizer.from_pretrained(FOLDER), output=tmp_path / "trained", **SETTINGS)
    assert texts(tmp_path / "r", "after") == texts(tmp_path / "trained", "after")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("r")] == ["r"]
    assert [json.loads(line)["step"] for line in (tmp_path / "r/train/log.jsonl").open()] == [1, 2, 3, 4, 5]
