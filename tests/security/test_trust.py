"""Nothing that comes along with a checkpoint runs, and nothing is told to anybody, unless the user says so."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from conftest import address, configuration, serving

from harness.cli import LIBRARY_SETTINGS
from harness.cli.run_checks import check_names
from harness.errors import UserError
from harness.models import checkpoints, loading

CODE = """
import os
from pathlib import Path

from transformers import {kind}Config, {kind}ForCausalLM

Path(os.environ["MARKER"]).touch()


class OwnConfig({kind}Config):
    model_type = "own"


class OwnModel({kind}ForCausalLM):
    config_class = OwnConfig
"""


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    """The embedded model as one that only code of its own can load; its code leaves a file called `ran`."""
    monkeypatch.setenv("MARKER", str(tmp_path / "ran"))
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder = shutil.copytree(checkpoints.locate("embedded"), tmp_path / "own")
    config = json.loads((folder / "config.json").read_text())
    kind = config["architectures"][0].removesuffix("ForCausalLM")
    config |= {
        "model_type": "own",
        "architectures": ["OwnModel"],
        "auto_map": {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(CODE.format(kind=kind.removesuffix("Text") if kind == "Gemma3Text" else kind))
    return folder


def test_a_checkpoint_s_code_runs_only_when_it_is_asked_for(checkpoint, harness, command, tmp_path):
    words = ("eval", "--model", checkpoint, "--recipe", "tiny", "--limit", "2", "--output", "r")
    code, said = command(*words)
    assert (code, said.count("\n")) == (2, 1)
    assert "comes with its own Python code: read it, then add --trust-remote-code to run it" in said
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "r").exists()
    done = harness(*words, "--trust-remote-code")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "ran").exists()
    assert json.loads((tmp_path / "r/run.json").read_text())["configuration"]["trust_remote_code"] is True
    assert command("report", "r")[0] == 0
    said = f"Python code that {checkpoint} brings along was run (--trust-remote-code)."
    assert said in (tmp_path / "r/report/index.html").read_text()
    assert "(--trust-remote-code)" in (tmp_path / "r/report/report.md").read_text()


@pytest.mark.parametrize(
    "words",
    [
        ("export", "--adapter", "ADAPTER", "--to", "merged-16bit"),
        ("plan", "--recipe", "tiny"),
        ("ask", "--recipe", "tiny", "?"),
        ("train", "--recipe", "tiny"),
    ],
    ids=lambda words: words[0],
)
def test_no_other_command_runs_it_either(checkpoint, adapter, words, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name, *options = [str(adapter) if word == "ADAPTER" else word for word in words]
    code, said = command(name, "--model", checkpoint, *options)
    assert code == 2
    assert "add --trust-remote-code" in said
    assert not (tmp_path / "ran").exists()


def test_code_of_a_tokenizer_alone_is_not_run(tmp_path, monkeypatch):
    monkeypatch.setenv("MARKER", str(tmp_path / "ran"))
    folder = shutil.copytree(checkpoints.locate("embedded"), tmp_path / "own")
    file = folder / "tokenizer_config.json"
    settings = json.loads(file.read_text()) | {
        "tokenizer_class": "OwnTokenizer", "auto_map": {"AutoTokenizer": ["own.OwnTokenizer", None]},
    }  # fmt: skip
    file.write_text(json.dumps(settings))
    (folder / "own.py").write_text("import os\nopen(os.environ['MARKER'], 'w')\n")
    with suppress(UserError):
        loading.load_tokenizer(str(folder))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"engine": "vllm", "engine_args": {"trust_remote_code": "true"}}, "give --trust-remote-code"),
        ({"engine": "vllm", "engine_args": {"hf_token": "hf_secret"}}, "set HF_TOKEN in the environment"),
        ({"engine": "openai", "engine_args": {"api_key": "sk-secret"}}, "set OPENAI_API_KEY in the environment"),
        ({"trainer": "unsloth", "trust_remote_code": True}, "--trainer trl"),
    ],
)
def test_trust_and_keys_have_one_place(given, message):
    with pytest.raises(UserError, match=message) as raised:
        check_names(configuration(**given))
    assert "secret" not in str(raised.value)


class Bomb:
    def __reduce__(self):
        return os.mkdir, (os.environ["MARKER"],)


def test_a_pickle_beside_safetensors_is_never_read(adapter, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MARKER", str(tmp_path / "ran"))
    folder = shutil.copytree(checkpoints.locate("embedded"), tmp_path / "own")
    for name in ("pytorch_model.bin", "model.pt", "training_args.bin", "optimizer.pt"):
        (folder / name).write_bytes(pickle.dumps(Bomb()))
    adapter = shutil.copytree(adapter, tmp_path / "a")
    (adapter / "adapter_model.bin").write_bytes(pickle.dumps(Bomb()))
    words = ("eval", "--model", folder, "--recipe", "tiny", "--limit", "2", "--output")
    assert command(*words, "r", "--adapter", adapter)[0] == 0
    (folder / "model.safetensors").unlink()
    code, said = command(*words, "s")
    assert (code, said.count("\n")) == (2, 1)
    assert "it is a pickle" in said
    assert not (tmp_path / "ran").exists()


class PickledHub(BaseHTTPRequestHandler):
    """A hub whose one checkpoint is a pickle."""

    def do_HEAD(self) -> None:
        config = self.path.endswith("/config.json")
        self.send_response(200 if config else 404)
        if not config:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("ETag", '"1"')
        self.send_header("Content-Length", "2" if config else "0")
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        pass


def test_a_hub_s_checkpoint_without_safetensors_is_refused(harness, tmp_path):
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), PickledHub)) as server:
        elsewhere = {"HF_ENDPOINT": address(server), "HF_HOME": str(tmp_path / "h")}
        done = harness("eval", "--model", "me/pickled", "--recipe", "tiny", **elsewhere)
    assert (done.returncode, done.stderr) == (
        2,
        "harness: --model me/pickled: has no .safetensors files, and pickles are not read: give another\n",
    )


@pytest.mark.parametrize(
    "process",
    [
        "cli.leave = print; sys.argv = ['harness', '--version']; cli.main()",
        "from harness.cli import stage; stage.end_with = lambda *_, **__: None; stage.main(['train', '.'])",
    ],
    ids=["command", "stage"],
)
def test_nobody_is_told_that_a_library_is_used(process):
    shown = f"import os, sys; from harness import cli; {process}; "
    shown += "print({name: os.environ.get(name) for name in cli.LIBRARY_SETTINGS})"
    bare = {name: value for name, value in os.environ.items() if name not in LIBRARY_SETTINGS}
    said = subprocess.run([sys.executable, "-c", shown], capture_output=True, text=True, check=True, env=bare).stdout
    assert "'HF_UPDATE_DOWNLOAD_COUNTS': '0'" in said
    for name in ("HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK", "VLLM_NO_USAGE_STATS", "UNSLOTH_DISABLE_STATISTICS"):
        assert f"'{name}': '1'" in said
    assert "'WANDB_ERROR_REPORTING': 'false'" in said
    chosen = bare | {"DO_NOT_TRACK": "0"}
    said = subprocess.run([sys.executable, "-c", shown], capture_output=True, text=True, check=True, env=chosen).stdout
    assert "'DO_NOT_TRACK': '0'" in said
