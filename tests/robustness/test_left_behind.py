"""What ends leaves no file descriptor, thread or process behind, in a program that goes on, and after a command."""

import gc
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from conftest import serving, write_jsonl
from hostile import called
from openai_server import Server
from proc import looks_into_proc
from transformers import AutoModelForCausalLM, AutoTokenizer

import harness as package
from harness.errors import UserError
from harness.models.checkpoints import locate

FOLDER = locate("embedded")
SETTINGS = {"dataset": "word-problems", "limit": 3, "max_tokens": 16, "quiet": True}
SECONDS = 5.0


@pytest.fixture(scope="module")
def lent():
    return AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32), AutoTokenizer.from_pretrained(FOLDER)


@dataclass(frozen=True)
class Held:
    """What this process has: the number of its descriptors and threads, and its children."""

    descriptors: int
    threads: int
    children: frozenset[int]

    def is_within(self, other: "Held") -> bool:
        no_more = self.descriptors <= other.descriptors and self.threads <= other.threads
        return no_more and self.children <= other.children


def held() -> Held:
    gc.collect()
    tasks = Path("/proc/self/task").iterdir()
    children = frozenset(int(each) for task in tasks for each in (task / "children").read_text().split())
    return Held(len(os.listdir("/proc/self/fd")), threading.active_count(), children)


def measures(lent, folder):
    package.evaluate(*lent, output=folder / "r", **SETTINGS)


def refused(lent, folder):
    with pytest.raises(UserError):
        package.evaluate(*lent, output=folder / "r", **SETTINGS | {"dataset": str(folder / "no.jsonl")})


def evaluates(lent, folder):
    replies = write_jsonl(folder / "replies.jsonl", [{"text": "4"}])
    words = ("eval", "--engine", "scripted", "--engine-arg", f"replies={replies}", "--limit", "3", "--fresh")
    code, said = called(*words, "--output", folder / "r")
    assert code == 0, said


def asks_a_server(lent, folder, code=0):
    with serving(Server()) as server:
        server.misbehave = lambda count: (lambda handler: handler.answer(400, {"error": "no"})) if code else None
        words = ("eval", "--engine", "openai", "--engine-arg", f"base_url={server.url}", "--engine-arg", "model=base")
        assert called(*words, "--limit", "3", "--fresh", "--output", folder / "r")[0] == code


def is_refused_by_a_server(lent, folder):
    asks_a_server(lent, folder, code=2)


@looks_into_proc
@pytest.mark.parametrize(
    "act", [measures, refused, evaluates, asks_a_server, is_refused_by_a_server], ids=lambda act: act.__name__
)
def test_a_program_that_goes_on_has_what_it_had(act, lent, tmp_path):
    act(lent, tmp_path)  # what libraries keep from their first use
    before = held()
    for _ in range(3):
        act(lent, tmp_path)
    until = time.monotonic() + SECONDS
    while not (after := held()).is_within(before) and time.monotonic() < until:
        time.sleep(0.1)
    assert after.is_within(before), (after, before)


@looks_into_proc
@pytest.mark.parametrize(("limit", "code"), [("2", 0), ("0", 2)])
def test_a_command_leaves_no_process(tmp_path, limit, code):
    command = [
        f"{sys.prefix}/bin/harness",
        "run",
        "--limit",
        limit,
        "--set",
        "max_tokens=16",
        "--output",
        tmp_path / "r",
    ]
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert process.wait() == code
    assert [pid for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))) if session_of(pid) == process.pid] == []


def session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None
