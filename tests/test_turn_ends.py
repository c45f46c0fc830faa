"""What ends a reply, whatever file of a checkpoint says it: in the rule, in training, in every engine."""

import json
import shutil

import pytest

from harness import checkpoints

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
    tokenizer = checkpoints.load_tokenizer(folder)
    assert checkpoints.end_tokens(folder, tokenizer) == LAYOUTS[layout][-1]
    assert tokenizer.pad_token_id == PAD


def trained(command, folder, layout):
    """What two steps of a layout's training log, and their first texts."""
    model, settings = laid_out(folder / "m", layout), (word for each in SETTINGS for word in ("--set", each))
    code, said = command("train", "--model", model, "--recipe", "tiny", "--quiet", "--output", folder / "r", *settings)
    assert code == 0, said
    log, rollouts = (
        [json.loads(line) for line in (folder / "r/train" / name).open()] for name in ("log.jsonl", "rollouts.jsonl")
    )
    return [{key: row[key] for key in row.keys() - TIMES} for row in log], rollouts


def test_a_checkpoint_of_gemmas_layout_trains_like_the_unchanged_one(command, tmp_path):
    log, rollouts = trained(command, tmp_path / "1", "gemma")
    assert (log, rollouts) == trained(command, tmp_path / "2", "as it is")
    assert log[0]["completions/mean_length"] < 96
    assert log[0]["completions/clipped_ratio"] < 1
    assert not any("<end_of_turn>" in rollout["text"] for rollout in rollouts)
