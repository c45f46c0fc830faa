"""How a process on another machine reaches the one that started it: it calls, and each shows that it has the key."""

import os
import queue
import secrets
import socket
import subprocess
import threading
import time
from contextlib import suppress
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge, wait

KEY = "HARNESS_CALL_KEY"
CALLS_WITHIN, SHOWS_KEY_WITHIN = 120.0, 10.0
# A machine that is gone without a word is noticed after two minutes.
KEPT_ALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 20, "TCP_KEEPCNT": 3}


class ExpectedCall:
    """A call that one process will make: the port, and what its environment must hold.

    What is sent after the keys is not encrypted: the machines of a cluster share a network of their own.
    """

    def __init__(self) -> None:
        dual = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if dual else socket.AF_INET
        self._server = socket.create_server(("", 0), family=family, dualstack_ipv6=dual)
        key = secrets.token_hex(32)
        self._key, self.environment = key.encode(), {KEY: key}
        self.port = str(self._server.getsockname()[1])

    def close(self) -> None:
        self._server.close()

    def taken(self, caller: subprocess.Popen) -> Connection | None:
        """The connection to the caller; None if it ends before, or does not call within CALLS_WITHIN seconds."""
        last = time.monotonic() + CALLS_WITHIN
        shown: queue.SimpleQueue[Connection] = queue.SimpleQueue()
        with self._server:
            while caller.poll() is None and time.monotonic() < last:
                if wait([self._server], timeout=0.1):
                    # Others may call too, and then say nothing.
                    called, _ = self._server.accept()
                    threading.Thread(target=_ask_for_key, args=(called, self._key, shown), daemon=True).start()
                with suppress(queue.Empty):
                    return shown.get_nowait()
        return None


def call_back(host: str, port: str) -> Connection:
    """The connection to the process that expects this one's call there."""
    called = socket.create_connection((host, int(port)))
    _keep_alive(called)
    connection = Connection(called.detach())
    key = os.environ.pop(KEY).encode()
    answer_challenge(connection, key)
    deliver_challenge(connection, key)
    return connection


def _ask_for_key(called: socket.socket, key: bytes, shown: "queue.SimpleQueue[Connection]") -> None:
    """Put the connection into `shown` if the caller has the key."""
    too_late = threading.Timer(SHOWS_KEY_WITHIN, called.shutdown, [socket.SHUT_RDWR])
    too_late.daemon = True
    with called:
        _keep_alive(called)
        connection = Connection(os.dup(called.fileno()))
        too_late.start()
        try:
            deliver_challenge(connection, key)
            answer_challenge(connection, key)
        except (AuthenticationError, EOFError, OSError):
            connection.close()
        else:
            shown.put(connection)
        too_late.cancel()


def _keep_alive(called: socket.socket) -> None:
    called.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEPT_ALIVE.items():
        # macOS lacks some of them.
        if option := getattr(socket, name, None):
            called.setsockopt(socket.IPPROTO_TCP, option, value)
