"""How a process on another machine reaches the one that started it: it calls, and each shows that it has the key."""

import os
import secrets
import socket
import struct
import subprocess
import time
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge, wait

KEY = "HARNESS_CALL_KEY"
CALLS_WITHIN, SHOWS_KEY_WITHIN = 120.0, 10.0


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

    def taken(self, caller: subprocess.Popen) -> Connection | None:
        """The connection to the caller; None if it ends before, or does not call within CALLS_WITHIN seconds."""
        last = time.monotonic() + CALLS_WITHIN
        with self._server:
            while caller.poll() is None and time.monotonic() < last:
                if wait([self._server], timeout=0.2) and (connection := _with_key(self._server, self._key)):
                    return connection
        return None


def call_back(host: str, port: str) -> Connection:
    """The connection to the process that expects this one's call there."""
    connection = Connection(socket.create_connection((host, int(port))).detach())
    key = os.environ.pop(KEY).encode()
    answer_challenge(connection, key)
    deliver_challenge(connection, key)
    return connection


def _with_key(server: socket.socket, key: bytes) -> Connection | None:
    """The next caller's connection, None if it does not show the key."""
    caller, _ = server.accept()
    with caller:
        # Somebody else may call and then say nothing.
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", int(SHOWS_KEY_WITHIN), 0))
        connection = Connection(os.dup(caller.fileno()))
        try:
            deliver_challenge(connection, key)
            answer_challenge(connection, key)
        except (AuthenticationError, EOFError, OSError):
            connection.close()
            return None
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 0))
    return connection
