"""Any server that speaks OpenAI's protocol: vLLM serve, SGLang, Ollama, a hosted one; one machine or a cluster."""

import asyncio
import json
import os
from collections.abc import Callable, Coroutine, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import openai

from harness import checkpoints
from harness.engines import PROBE_CONTINUATION, Drawn, OnText, effect_of, whole_number
from harness.errors import UserError, cause
from harness.types import AdapterEffect, Completion, Request, Sampling

KEY = "OPENAI_API_KEY"
CONCURRENCY = "64"
TIMEOUT_SECONDS = "600"
CONNECT_SECONDS = 10
RETRIES = "5"
PROBE_TOKENS = 48
# Servers that take these, and would fill in what the checkpoint's own generation settings say.
TAKE_ALL_SETTINGS = ("vllm", "sglang")


class OpenAIEngine:
    """Replies from a server. Arguments: base_url, model, tokenizer, concurrency, timeout (seconds), retries.

    The adapter is a served model's name. Without `tokenizer` the conversation is sent and the server's chat template
    renders it; with it (a folder or hub id) the prompt is rendered here and sent as text, which an adapter trained
    with a template of its own needs, and a template that opens the reasoning itself. The key comes from the environment
    variable OPENAI_API_KEY. Sampling cannot be seeded: what a server draws depends on the company in its batches.
    """

    def __init__(
        self,
        checkpoint: str,
        adapter: str | None,
        arguments: dict[str, str],
        seed: int,
        chat_template: str = "",
        trust: bool = False,
    ):
        if "base_url" not in arguments:
            raise UserError("engine 'openai' asks a server: give --engine-arg base_url=http://HOST:PORT/v1")
        self.base_url = _address(arguments["base_url"])
        self.concurrency = whole_number("concurrency", arguments.get("concurrency", CONCURRENCY))
        self.settings = {
            "base_url": self.base_url,
            "api_key": os.environ.get(KEY) or "none",
            "timeout": whole_number("timeout", arguments.get("timeout", TIMEOUT_SECONDS)),
            "max_retries": whole_number("retries", arguments.get("retries", RETRIES), least=0),
        }
        served = self._served()
        self.model = _choose_model(arguments.get("model"), checkpoint, served, self.base_url)
        self.takes_all_settings = served.get(self.model) in TAKE_ALL_SETTINGS
        self.adapter = adapter
        if adapter:
            _refuse_unserved("--adapter", adapter, served, self.base_url)
        if chat_template and "tokenizer" not in arguments:
            raise UserError("this recipe has a chat template of its own: give --engine-arg tokenizer=FOLDER_OR_HUB_ID")
        self.tokenizer = (
            checkpoints.load_tokenizer(arguments["tokenizer"], chat_template, trust)
            if "tokenizer" in arguments
            else None
        )
        self.provenance = {
            "engine": "openai",
            "base_url": self.base_url,
            "model": self.model,
            "server": served.get(self.model) or "unknown",
            "chat_template": arguments.get("tokenizer", "the server's own"),
        }

    def load(self) -> None:
        """The server has loaded its models already."""

    def render(self, messages: list[dict[str, str]]) -> str:
        """The prompt as the tokenizer's template has it; without one the conversation as JSON, which is sent."""
        return checkpoints.render(self.tokenizer, messages) if self.tokenizer else json.dumps(messages)

    def generate(
        self, requests: Sequence[Request], done: AbstractSet[tuple[bool, str, int]], sampling: Sampling
    ) -> Iterator[Drawn]:
        missing = [request for request in requests if request.key not in done]
        yield from self._each(lambda client, request: self._reply(client, request, sampling), missing)

    def adapter_effect(self, requests: Sequence[Request]) -> AdapterEffect:
        base, adapted = ([replace(request, adapted=side) for request in requests] for side in (False, True))
        try:
            return self._effect(self._log_probabilities, base, adapted)
        except (UserError, LookupError, TypeError, AttributeError, ValueError):
            # Many servers echo no log-probabilities.
            return self._effect(self._greedy_reply, base, adapted)

    def _effect(self, say: Callable, base: list[Request], adapted: list[Request]) -> AdapterEffect:
        """`say` returns what is said to one probe, as a list."""

        def said(requests: Sequence[Request]) -> list[list]:
            return [each for batch in self._each(say, requests) for each in batch]

        # One at a time: the company in a batch changes the last bits.
        alone = [[value for request in side for value in said([request])[0][1]] for side in (base, adapted, base)]
        together = {request.key: values for request, values in said([*base, *adapted])}
        beside = [value for request in base for value in together[request.key]]
        return effect_of(*alone, beside, len(base))

    def reply_to(self, request: Request, sampling: Sampling, on_text: OnText) -> Completion:
        ((_, completion),) = next(self.generate([request], frozenset(), sampling))
        on_text(completion.text)
        return completion

    def _served(self) -> dict[str, str]:
        """Who owns each served model, by its name; empty where the server does not say what it serves."""
        client = openai.OpenAI(**self.settings | {"timeout": CONNECT_SECONDS, "max_retries": 1})
        with client, _failures_named(self.base_url, "start the server, or mend base_url"):
            try:
                return {each.id: str(getattr(each, "owned_by", "")) for each in client.models.list()}
            except openai.NotFoundError:
                return {}

    def _each(
        self, ask: Callable[[openai.AsyncOpenAI, Request], Coroutine[None, None, Any]], requests: Sequence[Request]
    ) -> Iterator[list]:
        """What `ask` returns for each request, as lists of what has finished, `concurrency` of them at a time.

        The first that fails ends the iteration with its error, once what had finished before has been yielded.
        """
        loop = asyncio.new_event_loop()
        client = openai.AsyncOpenAI(**self.settings)
        finished: asyncio.Queue = asyncio.Queue()
        waiting = iter(requests)

        async def work() -> None:
            for request in waiting:
                try:
                    finished.put_nowait(await ask(client, request))
                except Exception as error:  # raised again where the iterator is read
                    finished.put_nowait(error)
                    return

        async def some() -> list:
            batch = [await finished.get()]
            while not finished.empty():
                batch.append(finished.get_nowait())
            return batch

        workers = [loop.create_task(work()) for _ in range(min(self.concurrency, len(requests)))]
        left = len(requests)
        try:
            while left:
                batch = loop.run_until_complete(some())
                left -= len(batch)
                if replies := [each for each in batch if not isinstance(each, Exception)]:
                    yield replies
                for error in (each for each in batch if isinstance(each, Exception)):
                    with _failures_named(self.base_url, "what was drawn is kept, the same command goes on"):
                        raise error
        finally:
            for worker in workers:
                worker.cancel()
            loop.run_until_complete(asyncio.gather(*workers, return_exceptions=True))
            loop.run_until_complete(client.close())
            loop.close()

    async def _reply(
        self, client: openai.AsyncOpenAI, request: Request, sampling: Sampling
    ) -> tuple[Request, Completion]:
        settings = {
            "model": self.adapter if request.adapted else self.model,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
            "extra_body": self._extra(sampling),
        }
        if self.tokenizer:
            settings["extra_body"]["add_special_tokens"] = False
            answer = await client.completions.create(prompt=request.prompt, **settings)
            text = answer.choices[0].text
        else:
            answer = await client.chat.completions.create(messages=json.loads(request.prompt), **settings)
            text = _text(answer.choices[0].message, answer.choices[0].finish_reason)
        finish = "length" if answer.choices[0].finish_reason == "length" else "stop"
        return request, request.complete(text, int(answer.usage.completion_tokens), finish)

    def _extra(self, sampling: Sampling) -> dict[str, Any]:
        if self.takes_all_settings:
            return {"top_k": sampling.top_k or -1, "min_p": sampling.min_p, "repetition_penalty": 1.0}
        return {name: value for name in ("top_k", "min_p") if (value := getattr(sampling, name))}

    async def _log_probabilities(self, client: openai.AsyncOpenAI, request: Request) -> tuple[Request, list[float]]:
        """Of the tokens of a question and a fixed continuation, as the server echoes them."""
        answer = await client.completions.create(
            model=self.adapter if request.adapted else self.model,
            prompt=request.problem.question + PROBE_CONTINUATION,
            echo=True,
            max_tokens=1,
            temperature=0,
            logprobs=1,
        )
        return request, [float(value) for value in answer.choices[0].logprobs.token_logprobs[1:-1]]

    async def _greedy_reply(self, client: openai.AsyncOpenAI, request: Request) -> tuple[Request, list[str]]:
        greedy = Sampling(1, temperature=0.0, top_p=1.0, top_k=0, min_p=0.0, max_tokens=PROBE_TOKENS, seed=0)
        request, completion = await self._reply(client, request, greedy)
        return request, [completion.text]


def _text(message: Any, finish_reason: str | None) -> str:
    """What the model wrote; where the server has split off the reasoning, with its tags put back."""
    reasoning = getattr(message, "reasoning_content", None) or getattr(message, "reasoning", None)
    if not reasoning:
        return message.content or ""
    cut_off = finish_reason == "length" and not message.content
    return f"<think>{reasoning}" if cut_off else f"<think>{reasoning}</think>{message.content or ''}"


@contextmanager
def _failures_named(base_url: str, then: str) -> Iterator[None]:
    """What goes wrong between us and the server, as a UserError of one line that ends in what to do `then`."""
    try:
        yield
    except openai.AuthenticationError as error:
        raise UserError(f"{base_url} refuses the key: set {KEY} in the environment; {then}") from error
    except openai.APITimeoutError as error:
        raise UserError(f"{base_url} does not answer in time: raise --engine-arg timeout; {then}") from error
    except openai.APIConnectionError as error:
        raise UserError(f"{base_url} does not answer: {then}") from error
    except openai.RateLimitError as error:
        raise UserError(f"{base_url} gets too many requests: lower --engine-arg concurrency; {then}") from error
    except openai.APIStatusError as error:
        raise UserError(f"{base_url} answered {error.status_code} ({cause(error.message, 200)}): {then}") from error
    except (openai.OpenAIError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(
            f"{base_url} does not answer in OpenAI's protocol ({cause(error, 120)}): does it end in /v1? {then}"
        ) from error


def _address(url: str) -> str:
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        whole = False
    if not whole:
        raise UserError(f"--engine-arg base_url={url}: give http://HOST:PORT/v1")
    if parts.username or parts.password or parts.query:
        raise UserError(f"--engine-arg base_url: a key has no place in an address: set {KEY} in the environment")
    return url.rstrip("/")


def _choose_model(wanted: str | None, checkpoint: str, served: dict[str, str], base_url: str) -> str:
    """The served model: the one that was asked for, else the checkpoint's name, else the only one there is."""
    if wanted:
        _refuse_unserved("--engine-arg model", wanted, served, base_url)
        return wanted
    if checkpoint in served:
        return checkpoint
    if len(served) == 1:
        return next(iter(served))
    raise UserError(
        f"{base_url} serves {', '.join(served) or 'no list of models'}: name one by --engine-arg model=NAME"
    )


def _refuse_unserved(what: str, name: str, served: dict[str, str], base_url: str) -> None:
    if served and name not in served:
        raise UserError(f"{what} {name}: {base_url} serves {', '.join(sorted(served))}: give one of these names")
