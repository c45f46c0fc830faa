import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar
from unittest.mock import patch

import pytest
from hypothesis import settings

# tox sets it, and a program takes it for its terminal's width.
os.environ.pop("COLUMNS", None)
# Before torch is imported: threads of several tests that share the cores wait for each other.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from baselines.robustness import forked
from harness.cli import set_libraries
from harness.config import Configuration
from harness.configure import configure
from harness.data import datasets
from harness.data.datasets import settle_split
from harness.evaluation import evaluate, prompts
from harness.models import loading
from harness.storage.run_folder import Run

# As commands do: a thread of TRL's telemetry reads the environment while accelerate empties it, and can crash there.
set_libraries()
Server = TypeVar("Server", bound=ThreadingHTTPServer)
# The same cases each time, or many new ones: HYPOTHESIS_PROFILE=nightly.
settings.register_profile("ci", max_examples=100, deadline=None, derandomize=True)
settings.register_profile("nightly", max_examples=2000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
needs_lm_eval = pytest.mark.skipif(find_spec("lm_eval") is None, reason="lm-eval is not installed here: tox -e lm-eval")
needs_bitsandbytes = pytest.mark.skipif(
    find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed here: tox -e unsloth"
)
# What the fixture `job` is made with, and a training of four small steps.
JOB = ("--limit", "4", "--set", "steps=2", "--set", "prompts_per_step=2", "--set", "generations=2", "--set",
       "save_steps=2")  # fmt: skip
SMALL = ("--limit=4", "--set=steps=4", "--set=save_steps=1", "--set=prompts_per_step=2", "--set=generations=2",
         "--set=eval_every=2", "--set=eval_problems=4")  # fmt: skip
# Secrets that nobody may find again: test_secrets.py looks for them.
PLANTED = {
    "HF_TOKEN": "hf_plantedplantedplantedplantedhub",
    "OPENAI_API_KEY": "sk-planted0123456789planted0123456789server",
    "WANDB_API_KEY": "wandb0planted0wandb0planted0wandb0planted0",
    "SWANLAB_API_KEY": "swan0planted0swan0planted",
}


@pytest.fixture(scope="module")
def browser():
    """A real Chromium; without one its tests are skipped."""
    if CHROMIUM is None or find_spec("playwright") is None:
        pytest.skip("no Chromium here: install Debian's package chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@contextmanager
def watched_page(browser, width: int) -> Iterator:
    """An empty page that keeps what it asks for and what goes wrong on it in `seen`."""
    opened = browser.new_page(viewport={"width": width, "height": 900})
    opened.seen = []
    opened.on("request", lambda request: opened.seen.append(request.url))
    opened.on("pageerror", lambda error: opened.seen.append(f"error: {error}"))
    opened.on("console", lambda message: opened.seen.append(f"console: {message.text}"))
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def forks():
    """A server of commands in processes of their own, started with the first."""
    server = forked.Server()
    yield server
    server.close()


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Run the installed program in an empty folder, as a user does: program("eval", …) -> CompletedProcess."""
    monkeypatch.chdir(tmp_path)
    program = Path(sys.executable).parent / "harness"

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [program, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
            env=os.environ | environment,
        )

    return run


@pytest.fixture
def harness(program, forks, tmp_path):
    """The same in a fork, which saves seconds a stage; libraries read the environment as they are imported, though."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
        if environment:
            return program(*arguments, **environment)
        return forks.run([*map(str, arguments)], tmp_path, dict(os.environ))

    return run


@pytest.fixture
def command(capsys):
    """Run the command line in this process, which is quicker: command("export", …) -> (exit code, stderr)."""
    from harness.cli import exit_code_of
    from harness.cli.app import app

    def run(*arguments: str) -> tuple[int, str]:
        code = exit_code_of(lambda: app([*map(str, arguments)], standalone_mode=False))
        return code, capsys.readouterr().err

    return run


@pytest.fixture(scope="session", autouse=True)
def no_cache_of_the_users(tmp_path_factory):
    os.environ["HARNESS_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """No test finds the baselines of another, nor what its commands told the libraries: that there is no network."""
    with patch.dict(os.environ):
        monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
        yield


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real datasets, where the machine has it."""
    folder = os.environ.get("HARNESS_TEST_DATA")
    if not folder:
        pytest.skip("HARNESS_TEST_DATA names no folder of real datasets")
    return Path(folder)


@pytest.fixture(scope="session")
def adapter(tmp_path_factory):
    """An adapter that changes a quarter of the embedded model's greedy replies."""
    return save_adapter(tmp_path_factory.mktemp("a") / "adapter", spread=0.2)


@pytest.fixture(scope="session")
def job(tmp_path_factory, forks):
    """A whole run, trained for two steps, beside what it `said`."""
    folder = tmp_path_factory.mktemp("job")
    done = forks.run(["run", "--before-after", *JOB, "--output", "r"], folder, os.environ | PLANTED)
    assert done.returncode == 0, done.stderr
    (folder / "said").write_text(done.stdout + done.stderr)
    return folder / "r"


def configuration(
    *settings: str, trains: bool = False, model: str | None = "tiny", recipe: str | None = None, **options
) -> Configuration:
    return settle_split(configure(model, recipe, options, list(settings)), trains)


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    """A server that answers while the block runs."""
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def address(server: ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_port}"


def evaluate_until(run: Run, text: str) -> None:
    """Draw the base's replies, and stop behind the one that says `text`."""

    def stop(completion):
        if completion.text == text:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate.evaluate(run, ["before"], None, True, stop)


def generate(engine, config, done=frozenset(), adapted=False):
    """The completions of an engine to all problems but those `done`, by place."""
    wanted = prompts.requests(config, datasets.evaluation_problems(config), engine, adapted)
    done = {(adapted, *place) for place in done}
    return {each.place: each for batch in engine.generate(wanted, done, config.sampling) for _, each in batch}


def write_jsonl(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def save_adapter(folder: Path, checkpoint: str = "embedded", rank: int = 4, spread: float = 0.02) -> Path:
    """A LoRA adapter for a checkpoint whose lora_B are drawn with a standard deviation of `spread`."""
    import torch
    from transformers import AutoModelForCausalLM

    from baselines.peers.random_checkpoint import make_adapter

    model = loading.load(AutoModelForCausalLM, checkpoint, trust=False, dtype=torch.float32)
    make_adapter(model, folder, rank, spread)
    return folder


def save_kind(folder: Path, checkpoint: str, **kind) -> Path:
    """An adapter of one of PEFT's kinds, everything that is trained of it moved."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    model = get_peft_model(model, LoraConfig(r=4, task_type="CAUSAL_LM", **kind))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.05 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    return folder


def rename_keys(adapter: Path, old: str, new: str) -> Path:
    """Put `new` for `old` in the names of an adapter's weights."""
    from safetensors.torch import load_file, save_file

    file = adapter / "adapter_model.safetensors"
    tensors = {name.replace(old, new): tensor for name, tensor in load_file(file).items()}
    save_file(tensors, file, metadata={"format": "pt"})
    return adapter
