"""The programs with OpenAI's protocol: how to tell them apart, and what each takes beyond that protocol."""

import re
import resource
from dataclasses import dataclass, replace
from typing import Any

import openai

from harness.engines.openai_answers import InvalidAnswer, read
from harness.engines.openai_client import MOST_CONNECTIONS
from harness.types import Sampling

LOOK_SECONDS = 2.0


@dataclass(frozen=True)
class ServerProgram:
    """A program that serves models.

    `takes` are the settings that are always sent, as it would fill in its own; `repetition` is its name for the penalty
    that is off at 1, `no_top_k` its value for none; `takes_stop_ids`: the ids of tokens that end a completion, where
    others take only texts; `prompt`: how one that is rendered here is sent, as its "text", as "ids" where a text gets a
    second first token, "" where nothing stops the server from rendering it again; what it `ignores` it decides alone;
    `concurrency` is how many completions each replica of it generates at once.
    """

    name: str
    takes: tuple[str, ...] = ()
    repetition: str = ""
    no_top_k: int = 0
    takes_stop_ids: bool = False
    prompt: str = "text"
    ignores: tuple[str, ...] = ()
    concurrency: int = 64

    def fields(self, sampling: Sampling, seed: int) -> dict[str, Any]:
        """The sampling fields of a request beyond temperature, top_p and max_tokens.

        An unknown server is sent only what is set: a strict one refuses what it does not know.
        """
        in_force = {"top_k": sampling.top_k or self.no_top_k, "min_p": sampling.min_p}
        fields = {name: value for name, value in in_force.items() if name in self.takes or getattr(sampling, name)}
        if "seed" in self.takes and sampling.temperature:
            fields["seed"] = seed
        return fields | ({self.repetition: 1.0} if self.repetition else {})


ALL = ("top_k", "min_p", "seed")
PROGRAMS = {
    program.name: program
    for program in (
        ServerProgram("vllm", ALL, "repetition_penalty", no_top_k=-1, takes_stop_ids=True, concurrency=128),
        ServerProgram("sglang", ALL, "repetition_penalty", no_top_k=-1, takes_stop_ids=True, concurrency=128),
        ServerProgram("llama.cpp", ALL, "repeat_penalty", prompt="ids", concurrency=4),
        # The server in Python of llama-cpp-python: one completion at a time, the others wait.
        ServerProgram("llama-cpp-python", ALL, "repeat_penalty", concurrency=1),
        ServerProgram("lm-studio", ("top_k", "seed"), "repeat_penalty", ignores=("min_p",), concurrency=4),
        ServerProgram("ollama", ("seed",), prompt="", ignores=("top_k", "min_p", "repeat_penalty"), concurrency=4),
        ServerProgram("openai", ("seed",)),
        ServerProgram("unknown"),
    )
}
# By the owner in a server's list of models.
OWNERS = {
    "vllm": "vllm", "sglang": "sglang", "llamacpp": "llama.cpp", "me": "llama-cpp-python", "library": "ollama",
    "organization_owner": "lm-studio", "openai": "openai", "openai-internal": "openai", "system": "openai",
}  # fmt: skip
# By a page that only one of them has, and a key on it.
PAGES = (
    ("props", "default_generation_settings", "llama.cpp"), ("api/version", "version", "ollama"),
    ("version", "version", "vllm"),
)  # fmt: skip
REPLICA = re.compile(r'engine="(\d+)"')


async def identify(client: openai.AsyncOpenAI, owner: str) -> ServerProgram:
    """The program that serves, by the owner of its models or else by its pages, with the concurrency for it here."""
    root = str(client.base_url).rstrip("/").removesuffix("/v1")
    name = OWNERS.get(owner)
    for page, key, served_by in PAGES if name is None else ():
        if key in _object(await _page(client, f"{root}/{page}")):
            name = served_by
            break
    program = PROGRAMS[name or "unknown"]
    if program.name == "llama.cpp":
        slots = _object(await _page(client, f"{root}/props")).get("total_slots")
        program = replace(program, concurrency=slots if type(slots) is int and slots > 0 else program.concurrency)
    elif program.name == "vllm":
        replicas = {*REPLICA.findall((await _page(client, f"{root}/metrics")).decode("utf-8", "replace"))}
        program = replace(program, concurrency=program.concurrency * max(1, len(replicas)))
    return replace(program, concurrency=min(program.concurrency, _most_connections()))


async def _page(client: openai.AsyncOpenAI, address: str) -> bytes:
    """The content at an address; empty if there is no such page."""
    try:
        answer = await client.with_options(timeout=LOOK_SECONDS).get(address, cast_to=openai.HttpxBinaryResponseContent)
    except openai.APIError:
        return b""
    return answer.content


def _object(content: bytes) -> dict[str, Any]:
    try:
        return read(content)
    except InvalidAnswer:
        return {}


def _most_connections() -> int:
    """Half of the files that this process may have open."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_CONNECTIONS if limit == resource.RLIM_INFINITY else max(1, min(MOST_CONNECTIONS, limit // 2))
