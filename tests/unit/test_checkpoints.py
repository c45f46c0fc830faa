import json
import shutil
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from conftest import address, save_adapter, serving

from harness.errors import UserError
from harness.models import adapters, chat, checkpoint_checks, checkpoints, loading


@pytest.fixture
def folder(tmp_path):
    """A copy of the embedded model to break."""
    return shutil.copytree(checkpoints.locate("embedded"), tmp_path / "model")


def test_the_embedded_model_is_whole(folder):
    checkpoint_checks.check(str(folder))
    checkpoint_checks.check("embedded")


def break_config(folder):
    (folder / "config.json").write_text("[]")


def break_weights(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def lose_weights(folder):
    (folder / "model.safetensors").unlink()


def pickle_weights(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def add_adapter(folder):
    """transformers loads it unasked, vLLM does not."""
    save_adapter(folder)


def lose_template(folder):
    (folder / "chat_template.jinja").unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (break_config, "config.json: not a JSON object"),
        (break_weights, "not a whole safetensors file"),
        (lose_weights, "no .safetensors file"),
        (pickle_weights, r"pytorch_model\.bin is not read: it is a pickle"),
        (
            add_adapter,
            r"has an adapter_config\.json, .* give the base as --model and the adapter's folder as --adapter",
        ),
        (lose_template, "no chat template"),
        (shutil.rmtree, "no such folder"),
    ],
)
def test_damage_is_named_before_anything_is_loaded(folder, damage, message):
    damage(folder)
    with pytest.raises(UserError, match=message):
        checkpoint_checks.check(str(folder))


@pytest.mark.parametrize("settings", [None, [], {}, {"peft_type": "IA3"}])
def test_a_folder_that_is_no_lora_is_refused(tmp_path, settings):
    if settings is not None:
        (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    with pytest.raises(UserError, match=r"no adapter_config\.json of a LoRA"):
        adapters.check(str(tmp_path), "embedded")


def test_a_template_that_refuses_the_prompt_names_the_way_out():
    tokenizer = loading.load_tokenizer("embedded")
    tokenizer.chat_template = "{{ raise_exception('no system role') }}"
    with pytest.raises(UserError, match="chat_template=FILE"):
        chat.render(tokenizer, [{"role": "user", "content": "?"}])


class GatedHub(BaseHTTPRequestHandler):
    """The hub's answer to whoever has not accepted a model's licence."""

    def do_HEAD(self) -> None:
        self.send_response(403)
        self.send_header("X-Error-Code", "GatedRepo")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_a_gated_model_without_a_token_says_what_to_do(harness):
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), GatedHub)) as server:
        done = harness("eval", "--model", "gemma3-4b", HF_ENDPOINT=address(server))
    assert done.returncode == 2
    assert done.stderr == (
        "harness: --model google/gemma-3-4b-it: gated: accept its licence on its page of the hub, then set HF_TOKEN "
        "to your token\n"
    )
