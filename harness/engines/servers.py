"""The programs that speak OpenAI's protocol: how to tell them apart, and what each takes beyond that protocol."""

import re
import resource
from dataclasses import dataclass, replace
from typing import Any

import openai

from harness.engines.openai_client import MOST_CONNECTIONS, Nonsense, read
from harness.types import Sampling

LOOK_SECONDS = 2.0


@dataclass(frozen=True)
class Kind:
    """A program that serves models.

    `takes` are the settings that it is always sent, as what it is not sent it fills in by itself; `repetition` is its
    name for the penalty that is off at 1, `no_top_k` its word for none; `takes_stop_ids`: the ids of tokens that end a
    reply, where others take only texts; what it `ignores` it decides alone;
    `concurrency` is how many replies it works on at once, each replica of it.
    """

    name: str
    takes: tuple[str, ...] = ()
    repetition: str = ""
    no_top_k: int = 0
    takes_stop_ids: bool = False
    ignores: tuple[str, ...] = ()
    concurrency: int = 64

    def fields(self, sampling: Sampling, seed: int) -> dict[str, Any]:
        """What a request says of sampling beyond temperature, top_p and max_tokens.

        A server that is not known is sent only what is set: a strict one refuses what it does not know.
        """
        in_force = {"top_k": sampling.top_k or self.no_top_k, "min_p": sampling.min_p}
        found = {name: value for name, value in in_force.items() if name in self.takes or getattr(sampling, name)}
        if "seed" in self.takes and sampling.temperature:
            found["seed"] = seed
        return found | ({self.repetition: 1.0} if self.repetition else {})


ALL = ("top_k", "min_p", "seed")
KINDS = {
    kind.name: kind
    for kind in (
        Kind("vllm", ALL, "repetition_penalty", no_top_k=-1, takes_stop_ids=True, concurrency=128),
        Kind("sglang", ALL, "repetition_penalty", no_top_k=-1, takes_stop_ids=True, concurrency=128),
        Kind("llama.cpp", ALL, "repeat_penalty", concurrency=4),
        Kind("lm-studio", ("top_k", "seed"), "repeat_penalty", ignores=("min_p",), concurrency=4),
        Kind("ollama", ("seed",), ignores=("top_k", "min_p", "repeat_penalty"), concurrency=4),
        Kind("openai", ("seed",)),
        Kind("unknown"),
    )
}
# By the owner in a server's list of models.
OWNERS = {
    "vllm": "vllm", "sglang": "sglang", "llamacpp": "llama.cpp", "library": "ollama", "organization_owner": "lm-studio",
    "openai": "openai", "openai-internal": "openai", "system": "openai",
}  # fmt: skip
# By a page that only one of them has, and what stands there.
PAGES = (
    ("props", "default_generation_settings", "llama.cpp"), ("api/version", "version", "ollama"),
    ("version", "version", "vllm"),
)  # fmt: skip
REPLICA = re.compile(r'engine="(\d+)"')


async def identify(client: openai.AsyncOpenAI, owner: str) -> Kind:
    """What program serves, by the owner of its models or else by its pages, with the concurrency that suits it here."""
    root = str(client.base_url).rstrip("/").removesuffix("/v1")
    name = OWNERS.get(owner)
    for page, key, served_by in PAGES if name is None else ():
        if key in _object(await _page(client, f"{root}/{page}")):
            name = served_by
            break
    kind = KINDS[name or "unknown"]
    if kind.name == "llama.cpp":
        slots = _object(await _page(client, f"{root}/props")).get("total_slots")
        kind = replace(kind, concurrency=slots if type(slots) is int and slots > 0 else kind.concurrency)
    elif kind.name == "vllm":
        replicas = {*REPLICA.findall((await _page(client, f"{root}/metrics")).decode("utf-8", "replace"))}
        kind = replace(kind, concurrency=kind.concurrency * max(1, len(replicas)))
    return replace(kind, concurrency=min(kind.concurrency, _most_connections()))


async def _page(client: openai.AsyncOpenAI, address: str) -> bytes:
    """What stands at an address; nothing where there is no such page."""
    try:
        answer = await client.with_options(timeout=LOOK_SECONDS).get(address, cast_to=openai.HttpxBinaryResponseContent)
    except openai.APIError:
        return b""
    return answer.content


def _object(content: bytes) -> dict[str, Any]:
    try:
        return read(content)
    except Nonsense:
        return {}


def _most_connections() -> int:
    """Of the files that this process may have open, half."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_CONNECTIONS if most == resource.RLIM_INFINITY else max(1, min(MOST_CONNECTIONS, most // 2))
