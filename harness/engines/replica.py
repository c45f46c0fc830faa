"""One replica's process, which does the tasks that replicas.py sends it: python -m harness.engines.replica SOCKET.

On another machine of a Slurm job: … PORT GPUS, places among the GPUs that Slurm shows there.
"""

import os
import sys
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from harness import registry
from harness.engines import ENGINES, Engine, Setup, gpus, network, slurm
from harness.errors import UserError

# What an answer is: a part of a task's result with more to come, its end, a user's mistake, our bug.
PART, DONE, REFUSED, BUG = "part", "done", "refused", "bug"


class Tasks:
    """The tasks by name, each a method; parts of a result are sent while it runs, the rest is returned."""

    engine: Engine

    def __init__(self, parent: Connection):
        self.parent = parent

    def open(self, name: str, setup: Setup) -> None:
        self.engine = registry.load("engine", name, ENGINES)(setup)

    def load(self, requests: list, max_tokens: int) -> str | None:
        return self.engine.load(requests, max_tokens)

    def generate(self, *arguments: Any) -> None:
        for finished in self.engine.generate(*arguments):
            self.parent.send((PART, [(request.key, completion) for request, completion in finished]))

    def reply_to(self, *arguments: Any) -> Any:
        return self.engine.reply_to(*arguments, lambda text: self.parent.send((PART, text)))

    def adapter_effect(self, requests: list) -> Any:
        return self.engine.adapter_effect(requests)

    def score(self, texts: list) -> Any:
        return self.engine.score(texts)


def main(parent: Connection) -> None:
    """Do tasks until the parent closes the connection."""
    with parent, suppress(EOFError, BrokenPipeError, ConnectionResetError):
        tasks = Tasks(parent)
        while True:
            name, arguments = parent.recv()
            try:
                answer = DONE, getattr(tasks, name)(*arguments)
            except UserError as error:
                answer = REFUSED, str(error)
            except Exception:
                answer = BUG, traceback.format_exc()
            parent.send(answer)


def connected(where: str, places: str | None = None) -> Connection:
    """The connection to the parent: an inherited socket, or from another machine its port there."""
    if places is None:
        return Connection(int(where))
    if places:
        os.environ[gpus.VARIABLE] = gpus.at_places(places, os.environ.get(gpus.VARIABLE))
    return network.call_back(slurm.address_of_caller(), where)


if __name__ == "__main__":
    main(connected(*sys.argv[1:]))
