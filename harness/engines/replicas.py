"""Several engines of one kind, each in a process of its own on its own GPU, which share the requests of an evaluation.

A request's replica follows from the requests alone, so what is generated at a place depends neither on what is done
already nor on which replica is faster.
"""

import os
import signal
import socket
import subprocess
import sys
import time
import weakref
from collections import Counter
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from harness.engines import Engine, Finished, OnText, Setup, gpus, network, slurm
from harness.engines.agreement import Scores, Text
from harness.engines.gpus import Place
from harness.engines.replica import BUG, PART, REFUSED
from harness.errors import UserError
from harness.findings import AdapterEffect
from harness.processes import OWN_SETTINGS, ending, start
from harness.types import Completion, Request, Sampling

ENDS_WITHIN = 2.0
# How long after its connection a process ends, if it does.
TELLS_WITHIN = 30.0
# srun's exit code, less a signal's number, for a process that a signal ended.
SIGNALLED = 128
PROGRAM = (sys.executable, "-m", "harness.engines.replica")


def shares_of(requests: Sequence[Request], number: int) -> list[list[Request]]:
    """The requests of each replica, in their order.

    All of a problem go to one replica, which reads its prompt once; the problems are dealt out by their prompts'
    length, so that each replica gets as many long ones.
    """
    prompts = {request.problem.id: request.prompt for request in reversed(requests)}
    by_length = sorted(prompts, key=lambda problem: (len(prompts[problem]), problem))
    owner = {problem: place % number for place, problem in enumerate(by_length)}
    shares: list[list[Request]] = [[] for _ in range(number)]
    for request in requests:
        shares[owner[request.problem.id]].append(request)
    return shares


def started(name: str, setup: Setup, places: Sequence[Place]) -> list["Replica"]:
    """Replicas of an engine that open it, each in its process, which takes as long as to import its library.

    Raises UserError if one cannot be started.
    """
    threads = _threads_of_each(max(Counter(place.machine for place in places).values()))
    replicas: list[Replica] = []
    try:
        for number, place in enumerate(places, start=1):
            replicas.append(Replica(number, place, threads))
        for replica in replicas:
            replica.connect()
            replica.send("open", name, setup)
    except BaseException:
        _stop(replicas)
        raise
    return replicas


class ReplicatedEngine:
    """An engine whose completions its replicas generate; `engine` itself, never loaded, renders the prompts.

    The effect of an adapter and the scores of given texts are the first replica's.
    """

    def __init__(self, engine: Engine, replicas: list["Replica"]):
        self.engine, self.replicas = engine, replicas
        machines = len({replica.place.machine for replica in replicas})
        self.provenance = engine.provenance | {gpus.REPLICAS: len(replicas)}
        if machines > 1:
            self.provenance |= {gpus.MACHINES: machines}
        weakref.finalize(self, _end, replicas)

    def load(self, requests: Sequence[Request] = (), max_tokens: int = 0) -> str | None:
        """Load the model into all replicas, side by side, their output where this process's own goes."""
        try:
            for _ in _parts(self.replicas):
                pass
            shares = shares_of(requests, len(self.replicas))
            for replica, share in zip(self.replicas, shares, strict=True):
                replica.send("load", share, max_tokens)
            for _ in _parts(self.replicas):
                pass
        except BaseException:
            _stop(self.replicas)
            raise
        return self.replicas[0].result

    def render(self, messages: list[dict[str, str]]) -> str:
        return self.engine.render(messages)

    def generate(
        self, requests: Sequence[Request], done: AbstractSet[tuple[bool, str, int]], sampling: Sampling
    ) -> Iterator[Finished]:
        by_key, whole = {request.key: request for request in requests}, False
        try:
            busy = []
            for replica, share in zip(self.replicas, shares_of(requests, len(self.replicas)), strict=True):
                done_here = {request.key for request in share} & done
                if len(done_here) < len(share):
                    replica.send("generate", share, done_here, sampling)
                    busy.append(replica)
            for parts in _parts(busy):
                yield [(by_key[key], completion) for part in parts for key, completion in part]
            whole = True
        finally:
            if not whole:
                _stop(self.replicas)

    def adapter_effect(self, requests: Sequence[Request]) -> AdapterEffect | None:
        return self._first("adapter_effect", requests)

    def score(self, texts: Sequence[Text]) -> Scores | None:
        return self._first("score", texts)

    def reply_to(self, request: Request, sampling: Sampling, on_text: OnText) -> Completion:
        return self._first("reply_to", request, sampling, on_text=on_text)

    def _first(self, task: str, *arguments: Any, on_text: OnText | None = None) -> Any:
        first = self.replicas[0]
        first.send(task, *arguments)
        for parts in _parts([first]):
            for part in parts:
                on_text(part)
        return first.result


class Replica:
    """One replica's process, and what it answered last."""

    connection: Connection | None = None

    def __init__(self, number: int, place: Place, threads: int):
        self.number, self.place, self.result = number, place, None
        self.name = f"replica {number}{place}"
        environment = _environment(number, place, threads)
        self._call = network.ExpectedCall() if place.machine else None
        if self._call:
            command = slurm.on(place.machine, [*PROGRAM, self._call.port, place.gpus])
            environment = slurm.environment_of_step(environment | self._call.environment)
            self.process = start(command, stdin=subprocess.DEVNULL, env=environment)
            return
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = start(
                [*PROGRAM, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=environment,
            )
        self.connection = Connection(ours.detach())

    def connect(self) -> None:
        """Wait for the call of one on another machine. Raises UserError if it does not come."""
        if self._call is None:
            return
        if connection := self._call.taken(self.process):
            self.connection = connection
        elif self.process.poll() is not None:
            raise self._ended()
        else:
            raise UserError(
                f"{self.name} was not there within {network.CALLS_WITHIN:.0f} s: see engine.log, "
                f"or give --engine-arg {gpus.REPLICAS}=1"
            )

    def send(self, task: str, *arguments: Any) -> None:
        """Give it a task. Raises UserError if it has ended."""
        try:
            self.connection.send((task, arguments))
        except OSError as error:
            raise self._ended() from error

    def answer(self) -> tuple[bool, Any]:
        """Whether its task goes on, and the part that it has finished.

        Raises UserError if the task is refused or the process has ended, RuntimeError for a bug in it.
        """
        try:
            kind, value = self.connection.recv()
        except (EOFError, OSError) as error:
            raise self._ended() from error
        if kind == REFUSED:
            raise UserError(value)
        if kind == BUG:
            raise RuntimeError(f"in replica {self.number}:\n{value}")
        if kind == PART:
            return True, value
        self.result = value
        return False, None

    def _ended(self) -> UserError:
        try:
            code = self.process.wait(TELLS_WITHIN)
        except subprocess.TimeoutExpired:
            return UserError(f"{self.name} is gone: the same command continues from here")
        if self.place.machine and code - SIGNALLED in set(signal.Signals):
            code = SIGNALLED - code
        log = ", its messages are in engine.log" if code > 0 else ""
        return UserError(f"{self.name} {ending(code)}{log}: the same command continues from here")

    def close(self) -> None:
        """End the connection, which ends a process that waits for a task."""
        for end in (self.connection, self._call):
            if end:
                end.close()


def _parts(busy: Sequence[Replica]) -> Iterator[list[Any]]:
    """The parts of the results of all `busy` replicas, as they come, until all have done their task.

    If one of them fails, what has come from the others is yielded before its error is raised.
    """
    by_connection = {replica.connection: replica for replica in busy}
    while by_connection:
        parts, errors = [], []
        for connection in wait(list(by_connection)):
            try:
                goes_on, part = by_connection[connection].answer()
            except (UserError, RuntimeError) as error:
                errors.append(error)
                continue
            if goes_on:
                parts.append(part)
            else:
                del by_connection[connection]
        if parts:
            yield parts
        if errors:
            raise errors[0]


def _stop(replicas: Sequence[Replica]) -> None:
    """End replicas whatever they are doing."""
    for replica in replicas:
        replica.process.terminate()
    _end(replicas)


def _end(replicas: Sequence[Replica]) -> None:
    """End replicas: an idle one ends by itself when its connection is closed."""
    last = time.monotonic() + ENDS_WITHIN
    for replica in replicas:
        replica.close()
    for replica in replicas:
        with suppress(subprocess.TimeoutExpired):
            replica.process.wait(max(0.0, last - time.monotonic()))
        replica.process.kill()
        replica.process.wait()


def _threads_of_each(number: int) -> int:
    import torch

    return max(1, torch.get_num_threads() // number)


def _environment(number: int, place: Place, threads: int) -> dict[str, str]:
    """A replica's environment, with GPUs of its own or its share of the threads."""
    ours = os.environ | OWN_SETTINGS
    if not place.gpus:
        return ours | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    if number > 1:
        # vLLM's cache of compiled graphs is not made for two that write the same entry at the same time.
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vllm"
        ours["VLLM_CACHE_ROOT"] = str(Path(os.environ.get("VLLM_CACHE_ROOT") or home) / f"replica-{number}")
    if not place.machine:
        return ours | {gpus.VARIABLE: place.gpus}
    # There Slurm says which GPUs are seen, and the replica takes its own of them.
    ours.pop(gpus.VARIABLE, None)
    return ours
