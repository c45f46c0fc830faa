"""The vLLM engine, in this process: base and adapter from one loaded model, completions as soon as they finish."""

import atexit
import dataclasses
import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from itertools import count, groupby

os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
# In this process the engine starts and ends 12 s sooner, and its schedule depends on no other process's speed.
os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")

from vllm import LLM, CompletionOutput, LLMEngine, RequestOutput, SamplingParams
from vllm.exceptions import VLLMValidationError
from vllm.lora.request import LoRARequest
from vllm.platforms import current_platform
from vllm.sampling_params import RequestOutputKind

from harness.engines import PROBE_CONTINUATION, Finished, OnText, Setup, effect_of, random_seed, vllm_adapters
from harness.engines.agreement import Scores, Text
from harness.engines.vllm_errors import first_error, line_with_fix, redirect_stderr
from harness.engines.vllm_settings import OF_COMPILING, ON_GPU, refuse_too_large, settings_of, uncompiled, weights_of
from harness.errors import UserError, cause
from harness.findings import AdapterEffect
from harness.models import chat, checkpoints, loading, model_files
from harness.models.faults import message_of
from harness.types import Completion, Problem, Request, Sampling

FINAL = RequestOutputKind.FINAL_ONLY
# Whether each completion has a seed of its own, so that both sides use the same random numbers and a run that was
# killed generates what it would have generated. baselines/peers/vllm_speed.py measures what it costs.
SEEDED = True
# vLLM compiles anew for another max_model_len, so those of our choice lie this far apart.
LENGTHS_APART = 1024
# Compiling saves some 10 ms of a step of SmolLM2-135M on an H200 and takes a minute from empty caches, 2 s from full
# ones and 14 s with an adapter (baselines/README.md).
STEPS_THAT_PAY = 5000
VLLMS_BATCH = 1024


class VllmEngine:
    """vLLM's own engine loop. Arguments: any of vLLM's engine arguments, as key=value.

    Its synchronous loop is used, not the asynchronous one of its server, which generates a fifth fewer tokens per
    second on 1,319 prompts (baselines/peers).
    """

    def __init__(self, setup: Setup):
        self.checkpoint = setup.checkpoint
        self.tokenizer = loading.load_tokenizer(setup.checkpoint, setup.chat_template, setup.trust, setup.switches)
        self.ends = sorted(loading.end_tokens(setup.checkpoint, self.tokenizer))
        self.context = model_files.context_length(checkpoints.model_config(setup.checkpoint))
        self.lora = LoRARequest("adapter", 1, setup.adapter) if setup.adapter else None
        self.settings = settings_of(setup)
        self._compiles_as_told = not ON_GPU or bool(OF_COMPILING & setup.arguments.keys())
        self.engine: LLMEngine | None = None
        self._names = map(str, count())
        self._start_length = 0
        self._stderr = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115, open as long as vLLM's processes
        self.provenance = {
            "engine": "vllm",
            "device": current_platform.get_device_name(),
            "weights": weights_of(self.settings, setup.weights),
            "engine_args": self.settings,
            **chat.provenance(self.tokenizer),
        }

    def load(self, requests: Sequence[Request] = (), max_tokens: int = 0) -> str | None:
        """Start vLLM's engine. Raises UserError if it cannot start, with what it lacks."""
        refuse_too_large(self.checkpoint, self.settings)
        at_once = self.settings.get("max_num_seqs", VLLMS_BATCH)
        sizes = [len(wave) for wave in _waves(requests)]
        steps = sum(math.ceil(size / at_once) for size in sizes) * max_tokens
        is_short = not self._compiles_as_told and 0 < steps <= STEPS_THAT_PAY
        settings = self._room_for(requests, max_tokens) | self.settings
        if is_short:
            settings = uncompiled(settings, min(max(sizes), at_once))
        with redirect_stderr(self._stderr):
            try:
                self.engine = LLM(model=checkpoints.locate(self.checkpoint), **settings).llm_engine
            except Exception as error:  # what a worker's start-up raises has no common class
                fix = "fix the --engine-arg that it names, or evaluate with --engine transformers"
                raise UserError(
                    line_with_fix("vllm cannot start", first_error(self._stderr) or message_of(error), fix)
                ) from error
        self._start_length = os.fstat(self._stderr.fileno()).st_size
        atexit.register(self.engine.engine_core.shutdown)
        if self.lora:
            try:
                self.engine.add_lora(self.lora)
            except Exception as error:  # as above
                raise vllm_adapters.cannot_apply(self.lora.lora_path, message_of(error)) from error
        if is_short:
            return f"vLLM is not compiled here: in at most {steps:,} steps that costs more than it saves"
        return None

    def _room_for(self, requests: Sequence[Request], max_tokens: int) -> dict[str, int]:
        """The max_model_len that prompts and completions need, so that vLLM reserves memory for no more.

        Empty if the model's own is not longer.
        """
        if not requests or self.context is None:
            return {}
        prompts = [*dict.fromkeys(request.prompt + PROBE_CONTINUATION for request in requests)]
        longest = max(map(len, self.tokenizer(prompts, add_special_tokens=False)["input_ids"]))
        needed = math.ceil((longest + max_tokens) / LENGTHS_APART) * LENGTHS_APART
        return {"max_model_len": needed} if needed < self.context else {}

    def render(self, messages: list[dict[str, str]]) -> str:
        return chat.render(self.tokenizer, messages)

    def generate(
        self, requests: Sequence[Request], done: AbstractSet[tuple[bool, str, int]], sampling: Sampling
    ) -> Iterator[Finished]:
        for wave in _waves([request for request in requests if request.key not in done]):
            yield from self._generate(wave, sampling)

    def _generate(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[Finished]:
        """Generate the completions of requests that are all in the engine at once."""
        tokens = self._fitting(requests)
        if unasked := [(request, request.leave_unasked()) for request in requests if request.key not in tokens]:
            yield unasked
        # Several completions of one problem are generated by vLLM's own n, which it refuses for greedy ones.
        by_n = sampling.temperature and not SEEDED
        together = (lambda each: each.problem.id) if by_n else (lambda each: each.key)
        groups = [list(group) for _, group in groupby((each for each in requests if each.key in tokens), key=together)]
        first = [group[0] for group in groups]
        parameters = [_parameters(sampling, self.ends, _seed(group[0], sampling), len(group)) for group in groups]
        for finished in self._finished(first, [tokens[each.key] for each in first], parameters):
            replies = [
                (request, reply)
                for place, output in finished
                for request, reply in zip(groups[place], output.outputs, strict=True)
            ]
            texts = self.tokenizer.batch_decode([_without_end(reply) for _, reply in replies], skip_special_tokens=True)
            yield [
                (request, request.complete(text, len(reply.token_ids), _finish_reason(reply.finish_reason)))
                for (request, reply), text in zip(replies, texts, strict=True)
            ]

    def _fitting(self, requests: Sequence[Request]) -> dict[tuple[bool, str, int], list[int]]:
        """By request, the tokens of the prompts that leave room for a completion in the model's context."""
        tokens = zip(requests, self._tokens(requests), strict=True)
        return {request.key: ids for request, ids in tokens if len(ids) < (self.context or math.inf)}

    def _tokens(self, requests: Sequence[Request], text: str = "") -> list[list[int]]:
        prompts = [each.prompt + text for each in requests]
        return self.tokenizer(prompts, add_special_tokens=False)["input_ids"] if prompts else []

    def _finished(
        self, requests: Sequence[Request], tokens: list[list[int]], parameters: list[SamplingParams]
    ) -> Iterator[list[tuple[int, RequestOutput]]]:
        """Hand over all requests at once, and yield what each step finishes as (place in `requests`, output)."""
        places = {}
        for place, (request, ids, each) in enumerate(zip(requests, tokens, parameters, strict=True)):
            name = next(self._names)
            places[name] = place
            self._add(name, request, ids, each)
        while self.engine.has_unfinished_requests():
            finished = [(places[each.request_id], each) for each in self._step() if each.finished]
            if finished:
                yield finished

    def _add(self, name: str, request: Request, ids: list[int], parameters: SamplingParams) -> None:
        lora = self.lora if request.adapted else None
        try:
            self.engine.add_request(name, {"prompt_token_ids": ids}, parameters, lora_request=lora)
        except (ValueError, VLLMValidationError) as error:
            raise UserError(
                f"vllm refuses the prompt of {request.problem.id} ({cause(error, 200)}): raise --engine-arg "
                "max_model_len"
            ) from error
        except Exception as error:
            raise self._breakdown(error) from error

    def _step(self) -> list[RequestOutput]:
        try:
            return self.engine.step()
        except Exception as error:  # what breaks in vLLM's kernels has no common class
            raise self._breakdown(error) from error

    def _breakdown(self, error: Exception) -> UserError:
        """The error for what ended vLLM; if a process of its own died, with the first error that it printed."""
        message = message_of(error)
        if type(error).__name__ == "EngineDeadError":
            message = first_error(self._stderr, self._start_length) or message
        return UserError(line_with_fix("vllm broke down", message, "the same command continues from here"))

    def adapter_effect(self, requests: Sequence[Request]) -> AdapterEffect:
        fitting = self._fitting(requests)
        requests = [each for each in requests if each.key in fitting] or requests
        # One request at a time: other requests in a batch change the last bits.
        base, adapted, again = (
            [value for request in requests for value in self._log_probabilities([request], [adapter])[0]]
            for adapter in (False, True, False)
        )

        def beside(adapter: bool) -> list[float]:
            sides = [False] * len(requests) + [adapter] * len(requests)
            values = self._log_probabilities([*requests, *requests], sides)[: len(requests)]
            return [value for each in values for value in each]

        return effect_of(base, adapted, again, (beside(False), beside(True)), len(requests))

    def _log_probabilities(self, requests: Sequence[Request], adapted: Sequence[bool]) -> list[list[float]]:
        """Log-probabilities of the tokens of the fixed continuation, for each request, all in one batch."""
        probes = [dataclasses.replace(request, adapted=each) for request, each in zip(requests, adapted, strict=True)]
        return self._token_scores(
            probes, self._tokens(probes, PROBE_CONTINUATION), list(map(len, self._tokens(probes)))
        )

    def _token_scores(
        self, requests: Sequence[Request], tokens: list[list[int]], starts: Sequence[int]
    ) -> list[list[float]]:
        """The log-probabilities of each request's tokens from its start on."""
        parameters = [SamplingParams(max_tokens=1, temperature=0, prompt_logprobs=0, output_kind=FINAL)] * len(requests)
        values: list[list[float]] = [[] for _ in requests]
        for finished in self._finished(requests, tokens, parameters):
            for place, output in finished:
                by_token = zip(tokens[place], output.prompt_logprobs, strict=True)
                values[place] = [each[token].logprob for token, each in list(by_token)[starts[place] :]]
        return values

    def score(self, texts: Sequence[Text]) -> Scores:
        model = self.engine.vllm_config.model_config
        if max(len(text.tokens) for text in texts) >= model.max_model_len:
            raise UserError(f"max_model_len = {model.max_model_len} is shorter than the texts")
        tokens, starts = [list(text.tokens) for text in texts], [text.start for text in texts]
        scores = []
        for adapted in (False, True):
            requests = [
                Request(Problem("a fixed text", "", None), place, "", "", "", 0, place, adapted)
                for place in range(len(texts))
            ]
            scores.append(tuple(value for each in self._token_scores(requests, tokens, starts) for value in each))
        return Scores("vllm", str(model.dtype).removeprefix("torch."), *scores)

    def reply_to(self, request: Request, sampling: Sampling, on_text: OnText) -> Completion:
        parameters = _parameters(sampling, self.ends, _seed(request, sampling), kind=RequestOutputKind.DELTA)
        (ids,) = self._tokens([request])
        self._add(next(self._names), request, ids, parameters)
        text, tokens, finish = "", 0, None
        while self.engine.has_unfinished_requests():
            for output in self._step():
                part = output.outputs[0]
                text, tokens, finish = text + part.text, tokens + len(part.token_ids), part.finish_reason
                on_text(part.text)
        return request.complete(text, tokens, _finish_reason(finish))


def _waves(requests: Sequence[Request]) -> list[list[Request]]:
    """The base's requests, then the adapter's: in a batch with the adapter's the base's pay for LoRA too."""
    waves = [[request for request in requests if request.adapted == adapted] for adapted in (False, True)]
    return [wave for wave in waves if wave]


def _seed(request: Request, sampling: Sampling) -> int | None:
    return random_seed(request) if SEEDED and sampling.temperature else None


def _parameters(
    sampling: Sampling, ends: list[int], seed: int | None, n: int = 1, kind: RequestOutputKind = FINAL
) -> SamplingParams:
    return SamplingParams(
        n=n,
        seed=seed,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        min_p=sampling.min_p,
        max_tokens=sampling.max_tokens,
        stop_token_ids=ends,
        output_kind=kind,
        # Whole completions are decoded at their end, which costs less than a word at a time.
        detokenize=kind is not FINAL,
    )


def _without_end(reply: CompletionOutput) -> Sequence[int]:
    """The tokens of a completion without the one that ended it."""
    return reply.token_ids[:-1] if reply.finish_reason == "stop" else reply.token_ids


def _finish_reason(reason: str | None) -> str:
    return "length" if reason == "length" else "stop"
