"""The command line in a process of its own that imports no library anew: a fork of a server that has imported them.

The server itself only waits, so that a fork is as clean as a new process; a stage is forked from its command. How a
process starts is tested with the fixture `program`, which starts the installed program.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

SECONDS = 600


class Server:
    """Runs one command after the other, each in a fork."""

    def __init__(self) -> None:
        self.channel, theirs = socket.socketpair()
        self.channel.settimeout(SECONDS)
        self.process = subprocess.Popen(
            [sys.executable, "-P", __file__, str(theirs.fileno())],
            stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], start_new_session=True,
        )  # fmt: skip
        theirs.close()

    def run(self, arguments: Sequence[str], folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess:
        """Run `harness` with these arguments. Raises TimeoutError, after which the server is of no more use."""
        order = json.dumps([list(arguments), str(folder), environment]).encode()
        with ExitStack() as opened:
            outputs = [opened.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8")) for _ in range(2)]
            length = len(order).to_bytes(4, "big")
            socket.send_fds(self.channel, [length], [output.fileno() for output in outputs])
            self.channel.sendall(order)
            code = int(self.channel.recv(16))
            for output in outputs:
                output.seek(0)
            return subprocess.CompletedProcess(arguments, code, *(output.read() for output in outputs))

    def close(self) -> None:
        self.channel.close()
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def serve(channel: socket.socket) -> None:
    import_libraries()
    while True:
        length, outputs, *_ = socket.recv_fds(channel, 4, 2)
        if not length:
            return
        order = json.loads(channel.recv(int.from_bytes(length, "big"), socket.MSG_WAITALL))
        command = fork(partial(_run_ordered, channel, *order, outputs))
        for output in outputs:
            os.close(output)
        channel.sendall(b"%d" % os.waitstatus_to_exitcode(os.waitpid(command, 0)[1]))


def _run_ordered(channel: socket.socket, *order: object) -> NoReturn:
    channel.close()
    run_command(*order)


def import_libraries() -> None:
    """What the stages import and load, each of them the same."""
    from harness.cli import set_libraries

    set_libraries()
    import train.sft
    import train.trainers  # noqa: F401
    from harness.parsing import language

    language.label("What langid knows takes a second to load.")


def run_command(arguments: list[str], folder: str, environment: dict[str, str], outputs: list[int]) -> NoReturn:
    """Do in a fork what the installed program does in its process, but that the stages are forks too."""
    from harness import cli
    from harness.evaluation import pipeline

    for number, output in enumerate(outputs, 1):
        os.dup2(output, number)
        os.close(output)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [f"{sys.prefix}/bin/harness", *arguments]
    starts_process = pipeline._start

    def start(command: list[str], *given: Any):
        is_launched = command[0] != sys.executable
        return starts_process(command, *given) if is_launched else Stage(command)

    pipeline._start = start
    cli.main()


class Stage(nullcontext):
    """The fork that runs a stage: as much of a Popen as the pipeline asks for.

    One that waits is not there before its turn, as its libraries are imported already.
    """

    def __init__(self, command: list[str]) -> None:
        from harness.processes import WAITS

        super().__init__()
        self.command = [word for word in command if word != WAITS]
        self.pid: int | None = None
        self.returncode: int | None = None
        self.stdin = self
        if WAITS not in command:
            self.begin()

    def write(self, line: bytes) -> None:
        self.begin()

    def terminate(self) -> None:
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        self._send(signal.SIGKILL)

    def _send(self, number: int) -> None:
        if self.pid and self.poll() is None:
            os.kill(self.pid, number)

    def wait(self, timeout: float = SECONDS) -> int:
        until = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired(self.command, timeout)
            time.sleep(0.01)
        return self.returncode

    def begin(self) -> None:
        from harness.processes import ends_with_us

        command, ends = self.command, ends_with_us()

        def run_stage() -> NoReturn:
            from harness.cli import stage
            from harness.processes import OWN_SETTINGS

            ends()
            os.environ.update(OWN_SETTINGS)
            warnings.simplefilter("ignore")
            stage.main(command[command.index(stage.__name__) + 1 :])

        self.pid = fork(run_stage)

    def poll(self) -> int | None:
        if self.returncode is None and (ended := os.waitpid(self.pid, os.WNOHANG))[0]:
            self.returncode = os.waitstatus_to_exitcode(ended[1])
        return self.returncode


def fork(work: Callable[[], NoReturn]) -> int:
    """Begin work that ends its process in a fork; the process ID.

    The functions that it was forked in see neither its errors nor a signal: one that comes before the work has handlers
    of its own ends it, as it ends a program that is just starting.
    """
    from harness.processes import stops_held

    with stops_held():
        return os.fork() or _work_apart(work)


def _work_apart(work: Callable[[], NoReturn]) -> NoReturn:
    from harness.processes import STOPS

    try:
        for number in STOPS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
        work()
    except BaseException:
        with suppress(Exception):  # what it would print on may be full
            sys.excepthook(*sys.exc_info())
            sys.stdout.flush()
            sys.stderr.flush()
    finally:
        os._exit(1)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
