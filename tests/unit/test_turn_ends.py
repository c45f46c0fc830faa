"""What ends a reply, whatever file of a checkpoint says it: in the rule, in training, in every engine."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from conftest import configuration
from datasets import Dataset
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from harness import types
from harness.data import datasets
from harness.evaluation import evaluate, prompts
from harness.models import chat, checkpoints, loading
from harness.parsing import formats
from train import arguments
from train.cpu_rollouts import CpuGrpoTrainer
from train.grpo_trainer import GrpoTrainer
from train.rows import solutions_of

PAD, EOS, BOS, START, END = 0, 1, 2, 4, 5
ANSWERED = "message['content'] | trim + '<end_of_turn>\\n'"
OPEN = "message['content'] | trim + ('' if message['role'] == 'assistant' else '<end_of_turn>\\n')"
# tokenizer_config.json, generation_config.json, config.json, how the template writes a turn; the ends.
LAYOUTS = {
    "as it is": ({}, {}, {}, ANSWERED, {END}),
    "gemma": ({"eos_token": "<eos>"}, {"eos_token_id": [1, 5]}, {"eos_token_id": [1, 5]}, ANSWERED, {EOS, END}),
    "several": ({}, {"eos_token_id": [1, 3, 5]}, {}, ANSWERED, {EOS, 3, END}),
    "only in generation_config": ({"eos_token": "<eos>"}, {"eos_token_id": 5}, {"eos_token_id": 1}, OPEN, {EOS, END}),
    "only in config": ({"eos_token": "<eos>"}, {"eos_token_id": None}, {"eos_token_id": [5]}, OPEN, {EOS, END}),
    "only in a wrapper's config": (
        {"eos_token": "<eos>"}, {"eos_token_id": None}, {"eos_token_id": None, "text_config": {"eos_token_id": 5}},
        OPEN, {EOS, END},
    ),
    "only the tokenizer's": ({}, {"eos_token_id": None}, {"eos_token_id": None}, OPEN, {END}),
    "only in the template": ({"eos_token": "<eos>"}, {"eos_token_id": 1}, {"eos_token_id": 1}, ANSWERED, {EOS, END}),
    "text behind the answer": (
        {"eos_token": "<eos>"}, {"eos_token_id": 1}, {}, ANSWERED.replace("'<end", "' Done.</answer>\\n<end"),
        {EOS, END},
    ),
    "no end at all": ({"eos_token": "<eos>"}, {"eos_token_id": 1}, {}, OPEN, {EOS}),
}  # fmt: skip
SETTINGS = ("steps=2", "save_steps=2", "prompts_per_step=2", "generations=4")
# Of tokens; some replies are longer.
LIMIT = 40
TIMES = {"step_time", "train_runtime"}


def laid_out(folder, layout):
    """A copy of the embedded checkpoint that says what ends a turn in another way."""
    shutil.copytree(checkpoints.locate("embedded"), folder)
    *changes, turn, _ = LAYOUTS[layout]
    for name, change in zip(("tokenizer_config", "generation_config", "config"), changes, strict=True):
        file = folder / f"{name}.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | change))
    template = folder / "chat_template.jinja"
    assert ANSWERED in template.read_text()
    template.write_text(template.read_text().replace(ANSWERED, turn))
    return str(folder)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_all_that_ends_a_reply_is_found(tmp_path, layout):
    folder = laid_out(tmp_path / "m", layout)
    tokenizer = loading.load_tokenizer(folder)
    assert loading.end_tokens(folder, tokenizer) == LAYOUTS[layout][-1]
    assert tokenizer.pad_token_id == PAD


def replies_of(checkpoint):
    """The replies of six problems, and the first one as it streams."""
    config = configuration(limit=6).model_copy(update={"checkpoint": checkpoint})
    engine = evaluate.open_engine(config, None)
    wanted = prompts.requests(config, datasets.evaluation_problems(config), engine, False)
    completions = {each.place: each for batch in engine.generate(wanted, set(), config.sampling) for _, each in batch}
    parts = []
    engine.reply_to(wanted[0], config.sampling, parts.append)
    return completions, "".join(parts)


def test_an_end_that_only_the_template_knows_and_that_is_no_special_token_ends_a_reply_and_stays_out_of_it(tmp_path):
    folder = laid_out(tmp_path / "m", "only in the template")
    file = tmp_path / "m/tokenizer.json"
    tokenizer = json.loads(file.read_text())
    next(token for token in tokenizer["added_tokens"] if token["id"] == END)["special"] = False
    file.write_text(json.dumps(tokenizer))
    assert END not in loading.load_tokenizer(folder).all_special_ids
    assert replies_of(folder) == replies_of("embedded")


def pad_with_an_end(folder):
    file = Path(folder) / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"pad_token": "<end_of_turn>"}))
    return folder


def trainer_of(kind, folder, output, **settings):
    """A trainer of a checkpoint, of the first eight problems."""
    config = configuration("prompts_per_step=2", "generations=4", "eval_every=0", "rollouts=generate")
    tokenizer = loading.load_tokenizer(folder)
    values = arguments.grpo_arguments(config, output, LIMIT, 1, 0, resumes=False)
    for name, value in settings.items():
        setattr(values, name, value)
    questions = [problem.question for problem in datasets.training_problems(config)[0].problems[:8]]

    def none(completions, **_):
        return [0.0] * len(completions)

    return kind(
        ends=loading.end_tokens(folder, tokenizer),
        model=loading.load_model(folder, False, dtype=torch.float32),
        reward_funcs=[none],
        args=values,
        train_dataset=Dataset.from_list([{"prompt": formats.messages(question, None)} for question in questions]),
        processing_class=tokenizer,
    )


@pytest.mark.parametrize("kind", [GrpoTrainer, CpuGrpoTrainer])
def test_the_end_is_learnt_nothing_behind_it_and_no_reply_that_was_cut_off(kind, tmp_path):
    """With a pad token that ends turns, as Qwen's, whose place in masks goes by `ids != pad` in Unsloth."""
    folder = pad_with_an_end(laid_out(tmp_path / "m", "gemma"))
    trainer = trainer_of(kind, folder, tmp_path / "out", mask_truncated_completions=True)
    trainer.model.train()
    batch = next(iter(trainer.get_train_dataloader()))
    output, tokenizer = trainer._generate_and_score_completions(batch), trainer.processing_class
    cut_off = 0
    for ids, mask in zip(output["completion_ids"].tolist(), output["completion_mask"].tolist(), strict=True):
        length = ids.index(END) + 1 if END in ids else 0
        cut_off += not length
        assert mask == [1] * length + [0] * (len(ids) - length)
        assert not length or [token != tokenizer.pad_token_id for token in ids] == list(map(bool, mask))
    assert 0 < cut_off < len(output["completion_ids"])
    assert trainer._metrics["train"]["completions/clipped_ratio"] == [cut_off / len(output["completion_ids"])]
    assert output["num_items_in_batch"] == output["completion_mask"].sum()
    for row, ids in zip(batch, output["prompt_ids"], strict=True):
        text = chat.render(tokenizer, row["prompt"])
        assert ids[ids != tokenizer.pad_token_id].tolist() == tokenizer(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("layout", ["as it is", "gemma", "only in generation_config", "no end at all"])
def test_sft_learns_the_end_of_the_turn(tmp_path, layout):
    folder = laid_out(tmp_path / "m", layout)
    tokenizer, config = loading.load_tokenizer(folder), configuration("sft_dataset=word-problems")
    problems = (
        types.Problem("1", "Two and five?", "7", solution="2 + 5 = 7"),
        types.Problem("2", "One?", "1", solution="1"),
    )
    lessons = solutions_of(
        config.model_copy(update={"sft_batch": 1}), types.Dataset("d", "train", problems, "number"), tokenizer
    )
    batch = DataCollatorForLanguageModeling(pad_token_id=tokenizer.pad_token_id)(lessons.rows)
    expected = END if LAYOUTS[layout][3] == ANSWERED else EOS
    for ids, labels in zip(batch["input_ids"].tolist(), batch["labels"].tolist(), strict=True):
        answer = tokenizer.convert_tokens_to_ids("</SOLUTION>")
        behind = labels[len(ids) - ids[::-1].index(answer) :]
        assert behind[0] == expected


def trained(harness, folder, layout, *options):
    """What two steps of a layout's training log, and their first texts."""
    model, settings = laid_out(folder / "m", layout), (word for each in SETTINGS for word in ("--set", each))
    done = harness(
        "train", "--model", model, "--recipe", "tiny", "--quiet", "--output", folder / "r", *settings, *options
    )
    assert done.returncode == 0, done.stderr
    log, rollouts = (
        [json.loads(line) for line in (folder / "r/train" / name).open()] for name in ("log.jsonl", "rollouts.jsonl")
    )
    return [{key: row[key] for key in row.keys() - TIMES} for row in log], rollouts


def test_a_checkpoint_of_gemmas_layout_trains_like_the_unchanged_one(harness, tmp_path):
    log, rollouts = trained(harness, tmp_path / "1", "gemma")
    assert (log, rollouts) == trained(harness, tmp_path / "2", "as it is")
    assert log[0]["completions/mean_length"] < 96
    assert log[0]["completions/clipped_ratio"] < 1
    assert not any("<end_of_turn>" in rollout["text"] for rollout in rollouts)


def renamed(folder, names, special=True, drop=()):
    """A copy of the embedded checkpoint with other names for its tokens, and without some."""
    shutil.copytree(checkpoints.locate("embedded"), folder)
    file = folder / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    vocabulary = tokenizer["model"]["vocab"]
    for token in tokenizer["added_tokens"]:
        old = token["content"]
        token["content"] = names.get(old, old)
        if old in names:
            token["special"] = special
        if old in vocabulary:
            vocabulary[token["content"]] = vocabulary.pop(old)
    tokenizer["added_tokens"] = [token for token in tokenizer["added_tokens"] if token["content"] not in drop]
    file.write_text(json.dumps(tokenizer))
    return folder


def tokenizer_of(folder, rows=1024, **changes):
    settings = json.loads((folder / "tokenizer_config.json").read_text()) | changes
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    config = json.loads((folder / "config.json").read_text()) | {"vocab_size": rows}
    (folder / "config.json").write_text(json.dumps(config))
    return loading.load_tokenizer(str(folder))


PADS = [
    # renamed tokens, dropped, rows of the embedding, tokenizer_config.json: what it pads with.
    ({}, (), 1024, {}, "<pad>"),
    ({}, (), 1024, {"pad_token": None}, "<pad>"),
    ({"<pad>": "<|finetune_right_pad_id|>"}, (), 1024, {"pad_token": None}, "<|finetune_right_pad_id|>"),
    ({"<pad>": "<|vision_pad|>"}, (), 1024, {"pad_token": "<end_of_turn>"}, "<|vision_pad|>"),
    ({"<pad>": "<|reserved_1|>"}, (), 1024, {"pad_token": "<bos>", "unk_token": None}, "<unk>"),
    ({"<pad>": "<x>", "<unk>": "<|reserved_2|>"}, (), 1024, {"pad_token": None, "unk_token": None}, "<|reserved_2|>"),
    ({"<pad>": "<x>"}, (), 1024, {"pad_token": "<start_of_turn>"}, "<unk>"),
    ({"<pad>": "<x>"}, ("<x>", "<unk>", "<eos>"), 1030, {"pad_token": None, "unk_token": None}, "<|pad|>"),
    ({"<pad>": "<x>"}, ("<x>", "<unk>", "<eos>"), 1024, {"pad_token": None, "unk_token": None}, "<end_of_turn>"),
]


@pytest.mark.parametrize(("names", "drop", "rows", "settings", "expected"), PADS)
def test_padding_ends_no_reply_and_stands_in_no_conversation(tmp_path, names, drop, rows, settings, expected):
    tokenizer = tokenizer_of(renamed(tmp_path / "m", names, drop=drop), rows, **settings)
    assert tokenizer.pad_token == expected
    assert tokenizer.pad_token_id < rows
    assert tokenizer.eos_token == "<end_of_turn>"
