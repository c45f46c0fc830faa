"""vLLM in this process: base and adapter from one loaded model, every reply handed on as soon as it is finished."""

import atexit
import dataclasses
import json
import math
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from itertools import count, groupby
from typing import IO, Any

os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
# In this process the engine starts and ends 12 s sooner, and what it schedules depends on no other process's pace.
os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")

from vllm import LLM, CompletionOutput, EngineArgs, LLMEngine, RequestOutput, SamplingParams
from vllm.exceptions import VLLMValidationError
from vllm.lora.request import LoRARequest
from vllm.platforms import current_platform
from vllm.sampling_params import RequestOutputKind

from harness import adapters, chat, checkpoints, model_files, registry
from harness.engines import PROBE_CONTINUATION, Drawn, OnText, Setup, effect_of, whole_number
from harness.errors import UserError, cause
from harness.faults import lacks_memory, lacks_room_for_vllm, said_by
from harness.types import AdapterEffect, Completion, Request, Sampling

_NAMED_ERROR = re.compile(r"\b([A-Z]\w*(?:Error|Exception): .+)")
FINAL = RequestOutputKind.FINAL_ONLY
# The ranks that vLLM has room for.
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
OURS = {"model", "seed", "enable_lora", "tokenizer", "trust_remote_code", "hf_token"}
ON_GPU = current_platform.is_cuda_alike()
# An evaluation's batches are large, so on a card of a data centre's size more replies are drawn at once than vLLM's
# 1,024, all steps run as CUDA graphs (vLLM's own end at 512), and a third as many graphs are there 9 s earlier.
LARGE_GPU_BYTES, LARGE_BATCH = 70 * 2**30, 1536
GRAPH_SIZES = (1, 2, 4, 8, 16, 32, 64, 96, 128, 192, 256, 320, 384, 512, 640, 768, 1024, 1280, 1536)
# What vLLM's CPU build needs for small models.
CPU_DEFAULTS = {"block_size": 128, "dtype": "float32", "gpu_memory_utilization": 0.4}


class VllmEngine:
    """vLLM's own engine loop. Arguments: any of vLLM's engine arguments, as key=value.

    Its synchronous loop is driven here, not the asynchronous one of its server, which draws a fifth fewer tokens a
    second on 1,319 prompts (baselines/peers).
    """

    def __init__(self, setup: Setup):
        self.checkpoint = setup.checkpoint
        self.tokenizer = checkpoints.load_tokenizer(setup.checkpoint, setup.chat_template, setup.trust, setup.switches)
        self.context = model_files.context_length(checkpoints.model_config(setup.checkpoint))
        self.lora = LoRARequest("adapter", 1, setup.adapter) if setup.adapter else None
        self.settings = _settings(setup)
        self.engine: LLMEngine | None = None
        self._names = map(str, count())
        self._started_saying = 0
        self._said = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115, open as long as vLLM's processes
        self.provenance = {
            "engine": "vllm",
            "device": current_platform.get_device_name(),
            "engine_args": self.settings,
            **chat.provenance(self.tokenizer),
        }

    def load(self) -> None:
        """Start vLLM's engine; a UserError says what it lacks."""
        _refuse_too_large(self.checkpoint, self.settings)
        with _stderr_into(self._said):
            try:
                self.engine = LLM(model=checkpoints.locate(self.checkpoint), **self.settings).llm_engine
            except Exception as error:  # what a worker's start-up raises has no common class
                fix = "mend the --engine-arg it speaks of, or evaluate with --engine transformers"
                raise UserError(
                    _with_fix("vllm cannot start", _first_named(self._said) or said_by(error), fix)
                ) from error
        self._started_saying = os.fstat(self._said.fileno()).st_size
        atexit.register(self.engine.engine_core.shutdown)

    def render(self, messages: list[dict[str, str]]) -> str:
        return chat.render(self.tokenizer, messages)

    def generate(
        self, requests: Sequence[Request], done: AbstractSet[tuple[bool, str, int]], sampling: Sampling
    ) -> Iterator[Drawn]:
        missing = [request for request in requests if request.key not in done]
        fitting = self._fitting(missing)
        asked = {request.key for request in fitting}
        yield [(request, request.leave_unasked()) for request in missing if request.key not in asked]
        # Several replies to one problem are drawn by vLLM's own n, which it refuses to greedy ones.
        together = (lambda each: (each.adapted, each.problem.id)) if sampling.temperature else (lambda each: each.key)
        problems = [list(group) for _, group in groupby(fitting, key=together)]
        first = [group[0] for group in problems]
        parameters = [_parameters(sampling, n=len(group)) for group in problems]
        for finished in self._finished(first, self._tokens(first), parameters):
            replies = [
                (request, reply)
                for place, output in finished
                for request, reply in zip(problems[place], output.outputs, strict=True)
            ]
            texts = self.tokenizer.batch_decode([_spoken(reply) for _, reply in replies], skip_special_tokens=True)
            yield [
                (request, request.complete(text, len(reply.token_ids), _finish_reason(reply.finish_reason)))
                for (request, reply), text in zip(replies, texts, strict=True)
            ]

    def _fitting(self, requests: Sequence[Request]) -> list[Request]:
        """Those whose prompt leaves room for a reply in the model's context."""
        sizes = map(len, self._tokens(requests))
        return [each for each, size in zip(requests, sizes, strict=True) if size < (self.context or math.inf)]

    def _tokens(self, requests: Sequence[Request], text: str = "") -> list[list[int]]:
        prompts = [each.prompt + text for each in requests]
        return self.tokenizer(prompts, add_special_tokens=False)["input_ids"] if prompts else []

    def _finished(
        self, requests: Sequence[Request], tokens: list[list[int]], parameters: list[SamplingParams]
    ) -> Iterator[list[tuple[int, RequestOutput]]]:
        """What each step of the engine finishes, as (place in `requests`, output); all are handed over at once."""
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
        """The line for what ended vLLM in the middle; of a process of its own that died, what that said last."""
        said = said_by(error)
        if type(error).__name__ == "EngineDeadError":
            said = _first_named(self._said, self._started_saying) or said
        return UserError(_with_fix("vllm broke down", said, "the same command goes on from here"))

    def adapter_effect(self, requests: Sequence[Request]) -> AdapterEffect:
        requests = self._fitting(requests) or requests
        # One request at a time: the company in a batch changes the last bits.
        base, adapted, again = (
            [value for request in requests for value in self._log_probabilities([request], [adapter])[0]]
            for adapter in (False, True, False)
        )
        beside = self._log_probabilities([*requests, *requests], [False] * len(requests) + [True] * len(requests))
        beside = [value for each in beside[: len(requests)] for value in each]
        return effect_of(base, adapted, again, beside, len(requests))

    def _log_probabilities(self, requests: Sequence[Request], adapted: Sequence[bool]) -> list[list[float]]:
        """Of the tokens of the fixed continuation, for each request, all in one batch."""
        parameters = [SamplingParams(max_tokens=1, temperature=0, prompt_logprobs=0, output_kind=FINAL)] * len(requests)
        asked = [dataclasses.replace(request, adapted=each) for request, each in zip(requests, adapted, strict=True)]
        starts, tokens = list(map(len, self._tokens(asked))), self._tokens(asked, PROBE_CONTINUATION)
        found: list[list[float]] = [[] for _ in asked]
        for finished in self._finished(asked, tokens, parameters):
            for place, output in finished:
                said = zip(tokens[place], output.prompt_logprobs, strict=True)
                found[place] = [known[token].logprob for token, known in list(said)[starts[place] :]]
        return found

    def reply_to(self, request: Request, sampling: Sampling, on_text: OnText) -> Completion:
        parameters = _parameters(sampling, kind=RequestOutputKind.DELTA)
        (ids,) = self._tokens([request])
        self._add(next(self._names), request, ids, parameters)
        text, tokens, finish = "", 0, None
        while self.engine.has_unfinished_requests():
            for output in self._step():
                part = output.outputs[0]
                text, tokens, finish = text + part.text, tokens + len(part.token_ids), part.finish_reason
                on_text(part.text)
        return request.complete(text, tokens, _finish_reason(finish))


def _parameters(sampling: Sampling, n: int = 1, kind: RequestOutputKind = FINAL) -> SamplingParams:
    # No seed for each request: vLLM draws those one by one, which costs most of its speed; the engine is seeded.
    return SamplingParams(
        n=n,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        min_p=sampling.min_p,
        max_tokens=sampling.max_tokens,
        output_kind=kind,
        # Whole replies are decoded at their end, which costs less than a word at a time.
        detokenize=kind is not FINAL,
    )


def _settings(setup: Setup) -> dict[str, Any]:
    """vLLM's engine arguments: what the model and the adapter need, then the user's, then the run's."""
    adapter = setup.adapter
    settings: dict[str, Any] = _gpu_defaults() if ON_GPU else dict(CPU_DEFAULTS)
    if adapters.is_wrapper(setup.checkpoint):
        # Prompts are text: no attention from image to image, which few of vLLM's kernels can do.
        settings |= {"limit_mm_per_prompt": {"image": 0}, "hf_overrides": {"is_mm_prefix_lm": False}}
    if adapter:
        # The CPU build gives the last slot's adapter to the base's requests in a mixed batch
        # (vllm-project/vllm#48421), so there the last slot stays empty.
        slots = 1 if ON_GPU else 2
        room = _room_for(adapters.rank(adapter), adapter)
        settings |= {"enable_lora": True, "max_loras": slots, "max_lora_rank": room}
    known = {field.name for field in dataclasses.fields(EngineArgs)} - OURS
    for name, text in setup.arguments.items():
        if name.startswith("data_parallel"):
            raise UserError(
                f"--engine-arg {name}: replicas are a server's work: start `vllm serve` with "
                "--data-parallel-size N, then --engine openai --engine-arg base_url=http://localhost:8000/v1"
            )
        settings[registry.choose("engine argument", name, known)] = _value(text)
    if adapter and whole_number("max_lora_rank", str(settings["max_lora_rank"])) < adapters.rank(adapter):
        raise UserError(
            f"--engine-arg max_lora_rank={settings['max_lora_rank']}: {adapter} has rank {adapters.rank(adapter)}: "
            "leave the argument out"
        )
    return settings | {"seed": setup.seed, "trust_remote_code": setup.trust}


def _gpu_defaults() -> dict[str, Any]:
    large = current_platform.get_device_total_memory() >= LARGE_GPU_BYTES
    sizes = [size for size in GRAPH_SIZES if large or size <= 512]
    return {"cudagraph_capture_sizes": sizes} | ({"max_num_seqs": LARGE_BATCH} if large else {})


def _refuse_too_large(checkpoint: str, settings: dict[str, Any]) -> None:
    """A UserError where the weights alone take more than the GPU has, which vLLM would find out after minutes."""
    if not ON_GPU or {"quantization", "dtype", "cpu_offload_gb"} & settings.keys():
        return
    total = current_platform.get_device_total_memory() / 2**30
    parallel = ("tensor_parallel_size", "pipeline_parallel_size")
    gpus = math.prod(whole_number(name, str(settings.get(name, 1))) for name in parallel)
    needed = checkpoints.weight_bytes(checkpoint) / 2**30 / gpus
    if needed > total:
        raise UserError(
            f"{checkpoint}: its weights take {needed:.1f} GiB of memory, a GPU has {total:.1f} GiB: "
            "give --engine-arg quantization=fp8 or tensor_parallel_size=2"
        )


def _room_for(rank: int, adapter: str) -> int:
    room = next((each for each in RANKS if each >= rank), None)
    if room is None:
        raise UserError(f"--adapter {adapter}: rank {rank} is over vLLM's {RANKS[-1]}: evaluate with transformers")
    return room


def _value(text: str) -> Any:
    """A number, a list or the like as JSON writes it; else the text itself."""
    try:
        return json.loads({"True": "true", "False": "false"}.get(text, text))
    except ValueError:
        return text


def _spoken(reply: CompletionOutput) -> Sequence[int]:
    """The tokens of a reply without the one that ended it."""
    return reply.token_ids[:-1] if reply.finish_reason == "stop" else reply.token_ids


def _finish_reason(reason: str | None) -> str:
    return "length" if reason == "length" else "stop"


@contextmanager
def _stderr_into(file: IO[str]) -> Iterator[None]:
    """Keep what this process says on stderr off the terminal, and for good what those that it starts say."""
    sys.stderr.flush()
    kept = os.dup(2)
    os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _first_named(said: IO[str], start: int = 0) -> str | None:
    """The first error that vLLM or its workers named, which is the one that the others follow from."""
    said.seek(start)
    named = [match[1] for match in map(_NAMED_ERROR.search, said) if match]
    return next((each for each in named if "initialization failed" not in each), None)


def _with_fix(what: str, said: str, fix: str) -> str:
    """One line; where memory is short the fix is another one."""
    if lacks_memory(said) or lacks_room_for_vllm(said):
        which = "raise" if "increas" in said.casefold() else "lower"
        fix = (
            f"{which} --engine-arg gpu_memory_utilization or lower max_num_seqs, and what is drawn is kept, or lower "
            "max_model_len, which makes it another run"
        )
    return f"{what}: {cause(said, 300)}: {fix}"
