"""The engine for servers with OpenAI's protocol: vLLM serve, SGLang, Ollama, a hosted one; one machine or many."""

import json
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Any

import openai

from harness.engines import (
    PROBE_CONTINUATION,
    Finished,
    OnText,
    Setup,
    effect_of,
    random_seed,
    server_address,
    whole_number,
)
from harness.engines.agreement import Scores, Text
from harness.engines.openai_answers import (
    LONGEST_NAME,
    UNREADABLE,
    InvalidAnswer,
    log_probabilities,
    read,
    reply_bytes,
    storable,
    text_and_end,
    token_count,
)
from harness.engines.openai_client import CONNECT_SECONDS, Server, key
from harness.engines.servers import identify
from harness.errors import UserError, cause, said
from harness.findings import AdapterEffect
from harness.models import chat, loading
from harness.types import Completion, FinishReason, Request, Sampling

TIMEOUT_SECONDS = "600"
RETRIES = "5"
PROBE_TOKENS = 48
CONTINUES = "what was generated is kept, the same command continues"
# The most that the protocol takes.
MOST_STOPS = 4
# Beyond OpenAI's protocol.
MAY_BE_REFUSED = ("top_k", "min_p")
# Another tokenizer does not count a text's tokens so many times over.
TIMES_ASKED = 10
FEW_TOKENS = 8
# More names than one are remarkable, however many there are.
MOST_NAMES = 10


class OpenAIEngine:
    """Completions from a server. Arguments: base_url, model, tokenizer, concurrency, timeout (seconds a try), retries.

    The adapter is a served model's name. Without `tokenizer` the conversation is sent and the server's chat template
    renders it; with it (a folder or hub id) the prompt is rendered here and sent as text or tokens, which an adapter
    trained with a template of its own needs, and a template that opens the reasoning itself. The key comes from the
    environment variable OPENAI_API_KEY. A completion has a seed of its own where the server takes one, but depends on
    the other requests in its batches too. The server program decides how many completions are requested at once.
    """

    def __init__(self, setup: Setup):
        arguments = setup.arguments
        if "base_url" not in arguments:
            raise UserError("engine 'openai' asks a server: give --engine-arg base_url=http://HOST:PORT/v1")
        self.base_url = server_address("--engine-arg base_url", arguments["base_url"], "http://HOST:PORT/v1")
        first_look = Server(self.base_url, CONNECT_SECONDS, retries=1)
        ((served,),) = first_look.each(_served, [None], "start the server, or fix base_url")
        self.model = _choose_model(arguments.get("model"), setup.checkpoint, served, self.base_url)
        ((self.program,),) = first_look.each(identify, [served.get(self.model, "")], "fix base_url")
        self.server = Server(
            self.base_url,
            timeout=whole_number("timeout", arguments.get("timeout", TIMEOUT_SECONDS)),
            retries=whole_number("retries", arguments.get("retries", RETRIES), least=0),
            concurrency=whole_number("concurrency", arguments.get("concurrency", str(self.program.concurrency))),
        )
        self.adapter = setup.adapter
        if self.adapter:
            _refuse_unserved("--adapter", self.adapter, served, self.base_url)
        if setup.chat_template and "tokenizer" not in arguments:
            raise UserError("this recipe has a chat template of its own: give --engine-arg tokenizer=FOLDER_OR_HUB_ID")
        if "tokenizer" in arguments and not self.program.prompt:
            raise UserError(
                f"--engine-arg tokenizer: {self.program.name} renders every prompt by its own chat template, one that "
                "is rendered here a second time: leave it out"
            )
        self.tokenizer = (
            loading.load_tokenizer(arguments["tokenizer"], setup.chat_template, setup.trust, setup.switches)
            if "tokenizer" in arguments
            else None
        )
        self.ends = sorted(loading.end_tokens(arguments["tokenizer"], self.tokenizer)) if self.tokenizer else []
        self.provenance = {
            "engine": "openai",
            "base_url": self.base_url,
            "model": self.model,
            "server": served.get(self.model) or "unknown",
            "server_program": self.program.name,
            "concurrency": self.server.concurrency,
            "server_decides": ", ".join(self.program.ignores),
            "chat_template": arguments.get("tokenizer", "the server's own"),
            **(chat.provenance(self.tokenizer) if self.tokenizer else {}),
        }
        # What the server called the models that generated base's and adapter's completions, and their configurations.
        self.named: dict[bool, set[tuple[str, str]]] = {False: set(), True: set()}
        # Of a prompt that is rendered here the server sees the text alone.
        self.switches = {} if self.tokenizer else setup.switches

    def load(self, requests: Sequence[Request] = (), max_tokens: int = 0) -> None:
        """The server has loaded its models already."""

    def render(self, messages: list[dict[str, str]]) -> str:
        """The prompt by the tokenizer's template; without one the conversation as JSON, which is sent."""
        return chat.render(self.tokenizer, messages) if self.tokenizer else json.dumps(messages)

    def generate(
        self, requests: Sequence[Request], done: AbstractSet[tuple[bool, str, int]], sampling: Sampling
    ) -> Iterator[Finished]:
        missing = [request for request in requests if request.key not in done]
        longest = reply_bytes(sampling.max_tokens)
        yield from self.server.each(
            lambda client, each: self._reply(client, each, sampling), missing, CONTINUES, longest
        )

    def adapter_effect(self, requests: Sequence[Request]) -> AdapterEffect:
        base, adapted = ([replace(request, adapted=side) for request in requests] for side in (False, True))
        try:
            return self._effect(self._log_probabilities, base, adapted)
        except (UserError, ValueError):
            # Many servers echo no log-probabilities.
            return self._effect(self._greedy_reply, base, adapted)

    def score(self, texts: Sequence[Text]) -> Scores | None:
        return None

    def _effect(self, probe: Callable, base: list[Request], adapted: list[Request]) -> AdapterEffect:
        """The effect by `probe`, which returns the values of one request as a list."""

        def probed(requests: Sequence[Request]) -> list[list]:
            return [each for batch in self.server.each(probe, requests, CONTINUES) for each in batch]

        # One at a time: other requests in a batch change the last bits.
        alone = [[value for request in side for value in probed([request])[0][1]] for side in (base, adapted, base)]

        def beside(others: list[Request]) -> list:
            values = {request.key: values for request, values in probed([*others, *base])}
            return [value for request in base for value in values[request.key]]

        return effect_of(*alone, (beside(base), beside(adapted)), len(base))

    def reply_to(self, request: Request, sampling: Sampling, on_text: OnText) -> Completion:
        ((_, completion),) = next(self.generate([request], frozenset(), sampling))
        on_text(completion.text)
        return completion

    async def _reply(
        self, client: openai.AsyncOpenAI, request: Request, sampling: Sampling
    ) -> tuple[Request, Completion]:
        settings = {
            "model": self.adapter if request.adapted else self.model,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
            "extra_body": self.program.fields(sampling, random_seed(request)),
        }
        try:
            answer = await self._send(client, request, settings)
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            if name := next((each for each in MAY_BE_REFUSED if getattr(sampling, each) and each in str(error)), None):
                raise UserError(
                    f"{self.base_url} does not take {name} ({said(error, 100)}): --set {name}=0 evaluates without it"
                ) from error
            raise
        return request, self._completion(request, read(answer.content, reply_bytes(sampling.max_tokens)), sampling)

    def _completion(self, request: Request, answer: dict, sampling: Sampling) -> Completion:
        text, finish = text_and_end(answer, key())
        names = self.named[request.adapted]
        if len(names) < MOST_NAMES:
            model, configuration = (answer.get(each) or "" for each in ("model", "system_fingerprint"))
            names.add((_name(model), _name(configuration)))
        count = self._count(answer, text, finish, sampling)
        # Nothing at all was not cut off, and a server would leave a question out by saying so.
        return request.complete(text, count, finish if count else "stop")

    def _count(self, answer: dict, text: str, finish: FinishReason, sampling: Sampling) -> int:
        """How many tokens a completion has: as the server counts, unless a tokenizer that can tell disagrees."""
        least = 1 if text else 0
        # Of bytes that are no text a tokenizer cannot say how many tokens they were.
        if not self.tokenizer or UNREADABLE in text:
            return token_count(answer, least, TIMES_ASKED * sampling.max_tokens)
        # With the token that ended it, as other engines count.
        counted = len(self.tokenizer.encode(text, add_special_tokens=False)) + (finish == "stop")
        # A model does not always write a text with the tokens that a tokenizer takes for it.
        apart = max(FEW_TOKENS, counted // 4)
        try:
            return token_count(answer, max(least, counted - apart), counted + apart)
        except InvalidAnswer:
            return counted

    async def _send(self, client: openai.AsyncOpenAI, request: Request, settings: dict[str, Any]) -> Any:
        if self.tokenizer:
            settings["extra_body"] |= {"add_special_tokens": False} | self._stops()
            return await client.completions.with_raw_response.create(prompt=self._prompt(request), **settings)
        messages = json.loads(request.prompt)
        if self.switches:
            settings["extra_body"]["chat_template_kwargs"] = self.switches
        return await client.chat.completions.with_raw_response.create(messages=messages, **settings)

    def _prompt(self, request: Request) -> str | list[int]:
        """A prompt rendered here, as its text or as the ids of its tokens."""
        if self.program.prompt == "ids":
            return self.tokenizer(request.prompt, add_special_tokens=False)["input_ids"]
        return request.prompt

    def _stops(self) -> dict[str, Any]:
        """What ends a completion of a prompt rendered here, by a template that the server may not have."""
        if self.program.takes_stop_ids:
            return {"stop_token_ids": self.ends}
        return {"stop": self.tokenizer.convert_ids_to_tokens(self.ends)[:MOST_STOPS]}

    async def _log_probabilities(self, client: openai.AsyncOpenAI, request: Request) -> tuple[Request, list[float]]:
        """Log-probabilities of the tokens of a question and a fixed continuation, as the server echoes them."""
        answer = await client.completions.with_raw_response.create(
            model=self.adapter if request.adapted else self.model,
            prompt=request.problem.question + PROBE_CONTINUATION,
            echo=True,
            max_tokens=1,
            temperature=0,
            logprobs=1,
        )
        try:
            return request, log_probabilities(read(answer.content))
        except InvalidAnswer as error:
            raise UserError(f"{self.base_url} echoes no log-probabilities ({error}): replies are compared") from error

    async def _greedy_reply(self, client: openai.AsyncOpenAI, request: Request) -> tuple[Request, list[str]]:
        greedy = Sampling(1, temperature=0.0, top_p=1.0, top_k=0, min_p=0.0, max_tokens=PROBE_TOKENS, seed=0)
        request, completion = await self._reply(client, request, greedy)
        return request, [completion.text]


async def _served(client: openai.AsyncOpenAI, _: None) -> dict[str, str]:
    """The owner of each served model, by its name; empty if the server does not say what it serves."""
    try:
        models = read((await client.models.with_raw_response.list()).content).get("data") or []
        return {_name(each["id"]): _name(each.get("owned_by") or "") for each in models}
    except openai.NotFoundError:
        return {}
    except (TypeError, LookupError, AttributeError) as error:
        raise InvalidAnswer("no list of models") from error


def _name(text: object) -> str:
    return storable(text, key(), "a name", LONGEST_NAME)


def _choose_model(name: str | None, checkpoint: str, served: dict[str, str], base_url: str) -> str:
    """The served model: the one of that name, else the checkpoint's, else the only one there is."""
    if name:
        _refuse_unserved("--engine-arg model", name, served, base_url)
        return name
    if checkpoint in served:
        return checkpoint
    if len(served) == 1:
        return next(iter(served))
    raise UserError(
        f"{base_url} serves {cause(', '.join(served), 300) or 'no list of models'}: name one by --engine-arg model=NAME"
    )


def _refuse_unserved(what: str, name: str, served: dict[str, str], base_url: str) -> None:
    if served and name not in served:
        raise UserError(
            f"{what} {name}: {base_url} serves {cause(', '.join(sorted(served)), 300)}: give one of these names"
        )
