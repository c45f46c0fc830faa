"""The engines by name, and what each of them can do."""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

from harness.engines.agreement import Scores, Text
from harness.errors import UserError
from harness.findings import AdapterEffect
from harness.types import Completion, Request, Sampling

ENGINES = {
    "transformers": "harness.engines.transformers:TransformersEngine",
    "vllm": "harness.engines.vllm:VllmEngine [gpu]",
    "openai": "harness.engines.openai:OpenAIEngine",
    "scripted": "harness.engines.scripted:ScriptedEngine",
}
# None: the library's own argument names, which the engine checks against the installed version.
ARGUMENTS: dict[str, tuple[str, ...] | None] = {
    "transformers": ("batch_size", "dtype", "device", "data_parallel_size"),
    "vllm": None,
    "openai": ("base_url", "model", "tokenizer", "concurrency", "timeout", "retries"),
    "scripted": ("replies",),
}
# The largest that vLLM takes.
MOST_LORA_RANK = 512
AUTO = "auto"
SERVER = "openai"
# The transformers engine with a model that a program hands over; no command can name it.
IN_MEMORY = "in memory"
MOST_DIGITS = 18
# A name, or an address of IPv4 or IPv6.
HOST = re.compile(r"[a-z0-9._-]+|[0-9a-f:.%]+", re.IGNORECASE)
# They generate without the checkpoint's files.
WITHOUT_CHECKPOINT = ("scripted", SERVER, IN_MEMORY)
# The continuation whose log-probabilities show an adapter's effect; any text does, as long as it stays the same.
PROBE_CONTINUATION = " First we look at the numbers, then the answer follows."
OnText = Callable[[str], None]
OnCompletion = Callable[[Completion], None]
Finished = list[tuple[Request, Completion]]


@dataclass(frozen=True)
class Setup:
    """What an engine is made of.

    `arguments` are the engine's own, `trust` lets a checkpoint's own Python code run, `weights` are those of the base
    (16-bit, 4-bit or as stored), `switches` are what the chat template reads besides the conversation.
    """

    checkpoint: str
    adapter: str | None
    arguments: dict[str, str]
    seed: int
    chat_template: str = ""
    trust: bool = False
    weights: str = "16-bit"
    switches: dict[str, Any] = field(default_factory=dict)


class Engine(Protocol):
    """What generates completions. Made by Engine(setup), which loads no model.

    `provenance` is what a report says of it: with the checkpoint, the libraries' versions, prompts and sampling all
    that its completions depend on.
    """

    provenance: dict

    def __init__(self, setup: Setup): ...

    def load(self, requests: Sequence[Request] = (), max_tokens: int = 0) -> str | None:
        """Load the model, once; returns what was chosen for this work, and why, if anything was.

        With `requests` an engine may keep room for no longer prompts than theirs, and completions of `max_tokens`
        tokens. Raises UserError if the model cannot be loaded here.
        """

    def render(self, messages: list[dict[str, str]]) -> str:
        """The prompt as text, through the model's own chat template."""

    def generate(
        self, requests: Sequence[Request], done: AbstractSet[tuple[bool, str, int]], sampling: Sampling
    ) -> Iterator[Finished]:
        """Generate the completions of the requests whose key is not in `done`, and yield them as they finish.

        `requests` is always the whole run, so that what is generated at a place does not depend on what is done.
        """

    def adapter_effect(self, requests: Sequence[Request]) -> AdapterEffect | None:
        """Measure what the adapter changes on these prompts; None if there is no model to ask."""

    def score(self, texts: Sequence[Text]) -> Scores | None:
        """Log-probabilities of given tokens with base and adapter; None if there is no model that takes them."""

    def reply_to(self, request: Request, sampling: Sampling, on_text: OnText) -> Completion:
        """Generate one completion, its text handed to `on_text` part by part."""


def random_key(request: Request) -> bytes:
    """What decides a completion's random numbers: seed, problem and index, and neither the side nor the batch."""
    return hashlib.sha256(f"{request.seed}\0{request.problem.id}\0{request.index}".encode()).digest()


def random_seed(request: Request) -> int:
    """The same as a seed below 2^31, which every library and server takes."""
    return int.from_bytes(random_key(request)[:4], "big") >> 1


def effect_of(
    base: Sequence, adapted: Sequence, again: Sequence, in_batch: tuple[Sequence, Sequence], prompts: int
) -> AdapterEffect:
    """The effect of an adapter on the probes.

    From the values of the base alone, of the adapter alone, of the base alone again, and of the base in a batch beside
    itself and in one beside the adapter; each are log-probabilities, token by token, or whole greedy completions.
    """
    shared = _leak(adapted, *in_batch)
    if isinstance(base[0], str):
        difference, noise = (sum(_changes(base, other)) / len(base) for other in (adapted, again))
        return AdapterEffect("greedy replies", difference, noise, shared, prompts)
    difference, noise = (max(_changes(base, other)) for other in (adapted, again))
    return AdapterEffect("log-probabilities", difference, noise, shared, prompts)


def _leak(adapted: Sequence, beside_base: Sequence, beside_adapter: Sequence) -> float:
    # A batch alone changes the last bits, which is more than an adapter does that has hardly learned.
    from_base, from_adapted = sum(_changes(beside_base, beside_adapter)), sum(_changes(adapted, beside_adapter))
    return from_base / (from_base + from_adapted) if from_base else 0.0


def _changes(one: Sequence, other: Sequence) -> list[float]:
    return [float(a != b) if isinstance(a, str) else abs(a - b) for a, b in zip(one, other, strict=True)]


def whole_number(name: str, text: str, least: int = 1) -> int:
    """An engine argument's value. Raises UserError if it is no whole number of at least `least`."""
    if not text.isdecimal() or len(text) > MOST_DIGITS or int(text) < least:
        raise UserError(f"--engine-arg {name}={text[:40]}: give a whole number of at least {least}")
    return int(text)


def server_address(name: str, url: str, like: str = "http://HOST:PORT") -> str:
    """A setting's address of a server, as it may be stored. Raises UserError if it is none or contains a key."""
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("http", "https") and HOST.fullmatch(parts.hostname or "") and parts.port != 0
    except ValueError:
        whole = False
    if not whole:
        raise UserError(f"{name} is no address of a server: give {like}")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise UserError(
            f"{name}: a key is not allowed in an address: leave it out (OPENAI_API_KEY is read from the environment)"
        )
    return url.rstrip("/")


def engine_name(name: str) -> str:
    """The engine behind `auto` on this machine: vLLM where it and a GPU are, else transformers."""
    if name != AUTO:
        return name
    return "vllm" if _has_vllm_and_gpu() else "transformers"


def _has_vllm_and_gpu() -> bool:
    from importlib.util import find_spec

    if find_spec("vllm") is None:
        return False
    import torch

    return torch.cuda.is_available()
