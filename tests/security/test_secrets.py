"""Tokens and keys are planted in the environment, everything goes wrong that can, and nobody finds them anywhere."""

import json
import os
import shutil
import subprocess
import sys
from base64 import b64encode, urlsafe_b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from conftest import PLANTED, address, serving, write_jsonl

from harness.console.progress import libraries_into, note
from harness.errors import WITHHELD, UserError, cause, redacted, said


class Echo(BaseHTTPRequestHandler):
    """A server and a hub that answer with whatever key they were sent, as an error."""

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.rfile.read(length)
        key = self.headers.get("Authorization", "")
        self.server.keys.add(key)
        code, body = self.server.code, {"error": {"message": f"{'no ' * 60}{key} is wrong: {key}"}}
        if self.path.endswith("/models"):
            code, body = 200, {"object": "list", "data": [{"id": "base", "object": "model", "owned_by": "x"}]}
        content = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("X-Error-Message", key)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_HEAD = answer

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def echo():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    server.keys, server.code = set(), 500
    with serving(server):
        yield server


def assert_nowhere(*places: Path, said: str = "") -> None:
    """No planted value, nor the better part of one, in a text, a file's content or its name."""
    for name, value in PLANTED.items():
        part = value[: len(value) * 2 // 3]
        assert part not in said, name
        for place in places:
            for file in place.rglob("*"):
                assert part not in file.name
                assert not file.is_file() or part.encode() not in file.read_bytes(), (name, file)


def test_a_whole_run_leaves_none(job):
    assert_nowhere(job.parent, Path(os.environ["HARNESS_CACHE"]), said=(job.parent / "said").read_text())


@pytest.mark.parametrize("code", [401, 500])
def test_a_server_that_echoes_its_key(harness, echo, code, tmp_path):
    echo.code = code
    data = write_jsonl(tmp_path / "d.jsonl", [{"question": "1 + 1?", "answer": "2"}])
    done = harness(
        "eval", "--engine", "openai", "--engine-arg", f"base_url={address(echo)}/v1", "--engine-arg", "retries=0",
        "--dataset", data, "--output", "r", **PLANTED,
    )  # fmt: skip
    assert (done.returncode, done.stderr.strip().splitlines()[-1][:9]) == (2, "harness: ")
    assert echo.keys == {f"Bearer {PLANTED['OPENAI_API_KEY']}"}
    assert_nowhere(tmp_path, said=done.stdout + done.stderr)


def test_a_hub_that_echoes_its_token(harness, job, echo, tmp_path):
    echo.code = 403
    push = harness("export", job, "--to", "lora", "--output", "x", "--push", "me/x", "--yes", **PLANTED,
                   HF_ENDPOINT=address(echo), HF_HUB_OFFLINE="0")  # fmt: skip
    assert (push.returncode, push.stderr.splitlines()[-1][:31]) == (2, "harness: --push me/x: the hub r")
    model = harness("eval", "--model", "me/x", "--recipe", "tiny", "--limit", "1", "--output", "r", **PLANTED,
                    HF_ENDPOINT=address(echo), HF_HUB_OFFLINE="0", HF_HOME=str(tmp_path / "home"))  # fmt: skip
    assert model.returncode == 2
    assert f"Bearer {PLANTED['HF_TOKEN']}" in echo.keys
    assert_nowhere(tmp_path, said=push.stdout + push.stderr + model.stdout + model.stderr)


@pytest.mark.parametrize("tracker", ["swanlab", "wandb", "trackio"])
def test_a_tracker_that_is_offline(tracker, job, tmp_path):
    pytest.importorskip(tracker)
    shutil.copytree(job, tmp_path / "r")
    follow = f"""
from pathlib import Path
from harness.storage.run_folder import Run
from train import trackers
tracker = trackers._open({tracker!r}, Run(Path("r")))
tracker.log({{"train/reward": 1.0}}, 1)
tracker.close()
"""
    done = subprocess.run(
        [sys.executable, "-c", follow], cwd=tmp_path, env=os.environ | PLANTED, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [*(tmp_path / "r/tracker").rglob("*")]
    assert_nowhere(tmp_path, said=done.stdout + done.stderr)


KEYS_IN_SETTINGS = [
    ((), ("--set", "rollouts=server", "--set", "rollout_server=http://me:planted-password@h:8000"),
     "rollout_server: a key is not allowed in an address"),
    ((), ("--engine", "openai", "--engine-arg", "base_url=http://h/v1#planted-password"), "a key is not allowed"),
    ((), ("--engine", "openai", "--engine-arg", "base_url=me:planted-password@h/v1"), "is no address of a server"),
    (("A_SECRET", "/planted-password/"), ("--set", "system_prompt=/planted-password/"), "the value of A_SECRET"),
    (("A_KEY", "planted-password"), ("--output", "planted-password"), "the command: contains the value of A_KEY"),
    ((), ("--set", "system_prompt=hf_planted-password"), "system_prompt: contains the value of HF_TOKEN"),
]  # fmt: skip


@pytest.mark.parametrize(("variable", "typed", "said"), KEYS_IN_SETTINGS)
def test_a_key_that_is_typed_where_it_would_be_recorded(harness, tmp_path, variable, typed, said):
    (tmp_path / "home").mkdir()
    (tmp_path / "home/token").write_text("hf_planted-password\n")
    environment = dict([variable] if variable else [], HF_HOME=str(tmp_path / "home"), HF_TOKEN="")
    done = harness("eval", *typed, **environment)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert said in done.stderr
    assert "planted-password" not in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_reward_that_raises_one(harness, tmp_path):
    (tmp_path / "judge.py").write_text(
        "import os\n\n\ndef judge(completions, **_):\n    raise OSError('400 ?key=' + os.environ['OPENAI_API_KEY'])\n"
    )
    write_jsonl(tmp_path / "i.jsonl", [{"prompt": "?", "completion": "1", "answer": "1"}])
    done = harness("rewards", "score", "--preset", "judge.py", "--input", "i.jsonl", "--output", "o.jsonl", **PLANTED)
    assert done.returncode == 0, done.stderr
    assert "400 ?key=[OPENAI_API_KEY]" in (tmp_path / "o.jsonl").read_text()
    assert_nowhere(tmp_path, said=done.stdout + done.stderr)


def test_a_setting_that_holds_one_is_refused_before_anything_is_written(harness, tmp_path):
    typed = f"system_prompt=You are {PLANTED['HF_TOKEN']}."
    done = harness("eval", "--set", typed, "--output", "r", **PLANTED)
    assert (done.returncode, done.stderr) == (
        2,
        "harness: recipe key system_prompt: contains the value of HF_TOKEN: leave it out, the environment has it\n",
    )
    assert not (tmp_path / "r").exists()


def test_a_log_that_a_killed_process_left_is_cleaned_by_the_next(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_TOKEN", PLANTED["HF_TOKEN"])
    (tmp_path / "log").write_text(f"a library says {PLANTED['HF_TOKEN']}\n")
    with libraries_into(tmp_path / "log"):
        assert (tmp_path / "log").read_text() == "a library says [HF_TOKEN]\n"


def test_a_bug_of_ours_shows_its_traceback_without_them(tmp_path):
    broken = (
        "from harness import cli; import os; cli.exit_code_of = lambda *_: 1 / int(os.environ['HF_TOKEN']); cli.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", broken], env=os.environ | PLANTED, capture_output=True, text=True, check=False
    )
    assert "Traceback" in done.stderr
    assert "ValueError: invalid literal for int() with base 10: '[HF_TOKEN]'" in done.stderr
    assert_nowhere(said=done.stderr)


def test_what_is_said_and_logged_has_their_names_instead(monkeypatch, tmp_path, capfd):
    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)
    token = PLANTED["HF_TOKEN"]
    assert redacted(f"Bearer {token}.") == "Bearer [HF_TOKEN]."
    assert token[:8] not in cause(ValueError("x" * 150 + token))
    assert token not in str(UserError(f"no {token}"))
    with libraries_into(tmp_path / "log"):
        os.write(2, f"a library says {token}\n".encode())
        note(f"ours says {token}")
    assert (tmp_path / "log").read_text() == "a library says [HF_TOKEN]\n"
    assert "ours says [HF_TOKEN]" in capfd.readouterr().err


SAYINGS = {
    "The model `Qwen/Qwen2.5-0.5B-Instruct` does not exist.": True,
    "InternalServerError: DeepSeek-R1-Distill-Qwen-1.5B-GGUF/q4_k_m.gguf is not in /srv/models": True,
    "This model's maximum context length is 4096 tokens, at 2026-11-29T15:20:00.123456Z": True,
    "request 1234567890123456789012 failed": True,
    "Incorrect API key provided: AKIAIOSFODNN7EXAMPLE": False,
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.x": False,
    "no: Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFy": False,
    "no: " + "q" * 40: False,
}


@pytest.mark.parametrize(("text", "shown"), SAYINGS.items())
def test_what_a_server_says_is_not_shown_where_a_word_is_like_a_key(text, shown):
    assert said(text) == (text.removesuffix(".") if shown else WITHHELD)


@pytest.mark.parametrize("kind", [str.upper, " ".join, "\n".join, "-".join, lambda key: key[::-1],
                                  lambda key: key.encode().hex(":"),
                                  lambda key: " ".join(b64encode(f"Bearer {key}".encode()).decode()),
                                  lambda key: urlsafe_b64encode(f"x:{key}".encode()).decode()])  # fmt: skip
def test_no_message_shows_a_key_in_another_writing(monkeypatch, kind):
    monkeypatch.setenv("A_TOKEN", "planted>key?/0123")
    assert cause(OSError(f"400, it was {kind('planted>key?/0123')}")) == WITHHELD
    assert cause(OSError("400, it was another key, 0123")) == "400, it was another key, 0123"


def test_the_hub_s_login_is_one_of_them(monkeypatch, tmp_path):
    import huggingface_hub.constants

    monkeypatch.delenv("HF_TOKEN", raising=False)
    (tmp_path / "token").write_text("hf_kept_in_a_file\n")
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    assert redacted("hf_kept_in_a_file") == "[HF_TOKEN]"
