"""GGUF files as checkpoints: what is converted, how texts are cut into tokens, what is refused."""

import json
import shutil

import gguf_files
import numpy as np
import pytest
from conftest import configuration

from harness.configure import configure
from harness.errors import UserError
from harness.models import chat, checkpoint_checks, checkpoints, gguf, loading
from harness.storage.files import sha256


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return gguf_files.write(tmp_path_factory.mktemp("gguf") / "small-Q8_0.gguf")


def test_a_file_becomes_a_checkpoint_once(file, capsys):
    import torch

    folder = checkpoints.folder_here(str(file))
    assert folder is None
    folder = gguf.converted(file)
    assert "dequantizing Q8_0 weights, once" in capsys.readouterr().err
    made = {each.name: each.stat().st_mtime_ns for each in folder.iterdir()}
    assert made.keys() == {
        "model.safetensors", "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
        "chat_template.jinja", "gguf.json",
    }  # fmt: skip
    assert checkpoints.locate(str(file)) == str(checkpoints.folder_here(str(file))) == str(folder)
    assert {each.name: each.stat().st_mtime_ns for each in folder.iterdir()} == made
    assert capsys.readouterr().err == ""
    checkpoint_checks.check_weights(folder)
    config = json.loads((folder / "config.json").read_text())
    assert "quantization_config" not in config
    assert (config["dtype"], config["eos_token_id"]) == ("bfloat16", 2)
    model = loading.load_model(str(file), False, dtype=torch.float32)
    assert model.generation_config.eos_token_id == 2
    wanted = gguf_files.tensors(len(gguf_files.BYTES))["blk.0.ffn_down.weight"]
    kept = model.model.layers[0].mlp.down_proj.weight.detach().numpy()
    # Half a step of eight bits of a block's largest value, 0.1 times three standard deviations and a bit.
    assert 0 < np.abs(kept - wanted).max() < 0.5 * 0.5 / 127
    assert checkpoints.fingerprint(str(file)) == {
        "small-Q8_0.gguf": sha256(file), "quantization": "Q8_0", "conversion": "1",
    }  # fmt: skip


def test_a_kill_leaves_nothing_that_looks_whole(file, monkeypatch):
    def killed(header, folder):
        (folder / "model.safetensors").write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(gguf, "_write", killed)
        with pytest.raises(KeyboardInterrupt):
            gguf.converted(file)
    assert checkpoints.folder_here(str(file)) is None
    part = gguf._folder(file).with_name(f"{gguf._folder(file).name}.part")
    assert not part.exists()
    part.mkdir()  # what SIGKILL leaves
    (part / "model.safetensors").write_bytes(b"half")
    checkpoint_checks.check_weights(gguf.converted(file))
    assert not part.exists()


def test_the_tokenizer_follows_the_file(tmp_path):
    file = gguf_files.write(tmp_path / "x.gguf", tokenizer__ggml__eot_token_id=0)
    tokenizer = loading.load_tokenizer(str(file))
    named = (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token, tokenizer.unk_token)
    assert named == ("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|endoftext|>")
    assert json.loads((gguf.converted(file) / "generation_config.json").read_text())["eos_token_id"] == [2, 0]
    rendered = chat.render(tokenizer, [{"role": "user", "content": "1 + 1?"}])
    assert rendered == "<|im_start|>user\n1 + 1?<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer(rendered)["input_ids"][0] == 1
    assert tokenizer.decode(tokenizer("Ümlaut <|im_end|> 12")["input_ids"]) == "Ümlaut <|im_end|> 12"
    assert tokenizer.model_max_length == 2048


@pytest.mark.parametrize(
    ("rules", "text", "pieces"),
    [
        # A digit is a piece of its own first, so white space before it stays together.
        ("smollm", "x  4", ["x", "ĠĠ", "4"]),
        ("gpt-2", "x  4", ["x", "Ġ", "Ġ4"]),
        ("smollm", "x\n\n42", ["x", "ĊĊ", "4", "2"]),
        ("gpt-2", "x\n\n42", ["x", "Ċ", "Ċ", "4", "2"]),
        ("llama-bpe", "x\n\n42", ["x", "ĊĊ", "4", "2"]),
        ("qwen2", "x  4", ["x", "Ġ", "Ġ", "4"]),
        ("qwen2", "x\n\n4", ["x", "ĊĊ", "4"]),
    ],
)
def test_a_byte_level_tokenizer_splits_as_its_rules_say(tmp_path, rules, text, pieces):
    header = gguf._read(gguf_files.write(tmp_path / "x.gguf", tokenizer__ggml__pre=rules))
    tokenizer = gguf.gguf_tokenizer.tokenizer_of(header)
    assert tokenizer.tokenize(text) == pieces
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


PIECES = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "\n\n", "<0xC3>", "<0xBC>", "▁", "a", "b", "c", "ab",
          "bc", "▁a"]  # fmt: skip
TYPES = [3, 3, 3, 2, 3, 4, 6, 6, *[1] * 7]


@pytest.mark.parametrize(
    ("prefix", "text", "pieces"),
    [
        # Pairs merge by score, the best first, though "ab" and "c" have the better sum.
        (False, "abc", ["a", "bc"]),
        (False, "ab c", ["ab", "▁", "c"]),
        (False, "a\n\nb", ["a", "\n\n", "b"]),
        (False, "<start_of_turn>a", ["<start_of_turn>", "a"]),
        (False, "ü", ["<0xC3>", "<0xBC>"]),
        (True, "ab", ["▁a", "b"]),
    ],
)
def test_a_sentencepiece_tokenizer_merges_by_scores(tmp_path, prefix, text, pieces):
    scores = [0.0] * 8 + [-9.0, -9.0, -9.0, -3.0, -2.0, -1.0, -0.5 if prefix else -4.0]
    file = gguf_files.write(
        tmp_path / "x.gguf", tokenizer__ggml__model="llama", tokenizer__ggml__pre="default",
        tokenizer__ggml__tokens=PIECES, tokenizer__ggml__scores=scores, tokenizer__ggml__token_type=TYPES,
        tokenizer__ggml__merges=None, tokenizer__ggml__bos_token_id=2, tokenizer__ggml__eos_token_id=1,
        tokenizer__ggml__unknown_token_id=3, tokenizer__ggml__add_space_prefix=prefix,
    )  # fmt: skip
    tokenizer = gguf.gguf_tokenizer.tokenizer_of(gguf._read(file))
    assert tokenizer.tokenize(text) == pieces
    assert tokenizer(text)["input_ids"][0] == 2
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


def cut(file, share):
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])


MISTAKES = [
    (lambda file: file.write_bytes(b""), "no whole GGUF file"),
    (lambda file: file.write_bytes(b"GGUF"), "no whole GGUF file"),
    (lambda file: file.write_bytes(b"\0" * 5000), "no whole GGUF file"),
    (lambda file: cut(file, 0.02), "no whole GGUF file"),
    (lambda file: cut(file, 0.3), "no whole GGUF file"),
    (lambda file: cut(file, 0.99), "no whole GGUF file"),
    (lambda file: gguf_files.write(file, general__type="adapter"), "a LoRA adapter, not a model: give its base"),
    (lambda file: gguf_files.write(file, general__type="mmproj"), "not a language model"),
    (lambda file: gguf_files.write(file, general__architecture="clip"), "not a language model"),
    (lambda file: gguf_files.write(file, general__architecture="mamba"), "architecture mamba is not read here"),
    (lambda file: gguf_files.write(file, split__count=3), "llama-gguf-split --merge"),
    (lambda file: gguf_files.write(file, tokenizer__ggml__pre="dbrx"), "rules dbrx.* is not known here"),
    (lambda file: gguf_files.write(file, tokenizer__ggml__model="t5"), "kind t5"),
    (lambda file: gguf_files.write(file, tokenizer__chat_template=None), "--set chat_template=FILE"),
    (lambda file: shutil.copy(file, file.with_name("other.gguf")), "give one of the files"),
    (lambda file: file.unlink(), "no such file"),
]


@pytest.mark.parametrize(("damage", "message"), MISTAKES)
def test_mistakes_are_one_line_with_the_fix(tmp_path, command, file, damage, message):
    copied = tmp_path / "models" / "model.gguf"
    copied.parent.mkdir()
    shutil.copy(file, copied)
    damage(copied)
    given = copied.parent if "one of the files" in message else copied
    code, said = command("plan", "--model", str(given), "--recipe", "tiny")
    assert code == 2
    assert said.startswith("harness: --model ")
    assert said.count("\n") == 1
    with pytest.raises(UserError, match=message):
        checkpoint_checks.check(configure(str(given), "tiny", {}, []).checkpoint)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"rope_freqs.weight": np.ones(16, np.float32)}, "holds 12 tensors, and transformers reads 11"),
        ({"blk.0.attn_norm.weight": np.full(64, np.nan, np.float32)}, "holds NaN or infinity"),
    ],
)
def test_weights_that_would_be_lost_are_refused(tmp_path, more, message):
    file = gguf_files.write(tmp_path / "x.gguf", more)
    with pytest.raises(UserError, match=message):
        checkpoints.locate(str(file))
    assert checkpoints.folder_here(str(file)) is None


def test_a_cache_that_cannot_be_written_is_named(file, tmp_path, monkeypatch):
    (tmp_path / "taken").touch()
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "taken"))
    with pytest.raises(UserError, match="set HARNESS_CACHE to a folder with room"):
        checkpoints.locate(str(file))


def test_a_converted_folder_that_was_cut_is_made_again(file):
    weights = gguf.converted(file) / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-100])
    assert gguf.converted(file) == weights.parent
    assert weights.read_bytes() == whole


def test_a_missing_package_is_named(file, monkeypatch):
    monkeypatch.setattr(gguf, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install gguf"):
        checkpoints.locate(str(file))


def test_a_file_a_folder_and_a_link_are_models_with_and_without_a_recipe(file, tmp_path, monkeypatch):
    (tmp_path / "blobs").mkdir()
    blob = tmp_path / "blobs" / "sha256-1"  # Ollama's
    blob.symlink_to(file)
    monkeypatch.chdir(tmp_path)
    assert configure("blobs/sha256-1", None, {}, []).checkpoint == str(blob)
    named = configure(str(file), "tiny", {}, [])
    assert (named.name, named.checkpoint, named.steps) == ("small-Q8_0", str(file), 40)
    folder = configure(str(file.parent), None, {}, []).checkpoint
    assert checkpoints.gguf_file(folder) == file
    (tmp_path / "mine.toml").write_text('checkpoint = "blobs/sha256-1"\n')
    assert configure(None, str(tmp_path / "mine.toml"), {}, []).checkpoint == str(blob)


def test_a_template_of_ones_own_serves_a_file_without_one(tmp_path):
    file = gguf_files.write(tmp_path / "base.gguf", tokenizer__chat_template=None)
    (tmp_path / "own.jinja").write_text("{{ messages[-1]['content'] }}")
    config = configuration(f"chat_template={tmp_path / 'own.jinja'}", model=str(file), recipe="tiny")
    checkpoint_checks.check(config.checkpoint, config.chat_template)
    tokenizer = loading.load_tokenizer(config.checkpoint, config.chat_template)
    assert chat.render(tokenizer, [{"role": "user", "content": "1 + 1?"}]) == "1 + 1?"


def test_record_and_report_name_file_hash_and_quantization(file, tmp_path, command, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = ("--model", str(file), "--recipe", "tiny", "--limit", "2", "--set", "max_tokens=4", "--output", "r")
    code, said = command("eval", *given, "--quiet")
    assert (code, said) == (0, "")
    sha = sha256(file)
    record = json.loads((tmp_path / "r/run.json").read_text())
    assert record["configuration"]["checkpoint"] == str(file)
    assert record["provenance"]["before"]["checkpoint"] == {file.name: sha, "quantization": "Q8_0", "conversion": "1"}
    assert command("report", "r")[0] == 0
    for page in ("index.html", "report.md"):
        text = (tmp_path / "r/report" / page).read_text().replace("\\", "")
        assert f"{file.name} (Q8_0, SHA-256 {sha}), dequantized" in text
