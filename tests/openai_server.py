"""A server of our own that speaks OpenAI's protocol and can be told to break it."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from conftest import address

from harness.evaluation.same_model import QUESTIONS

REPLY = "<start_working_out>\nWe count.\n<end_working_out>\n<SOLUTION>{}</SOLUTION>"
Fault = Callable[["Handler"], None]


class Server(ThreadingHTTPServer):
    """Serves `base` and the LoRA `lora`; `misbehave(count)` is asked first about every reply.

    Not about the answers to the fixed questions, which neither count nor are in `asked`: `fixed` gives these. `echoes`
    answers who asks for log-probabilities.
    """

    # Many requests at once are no fault.
    request_queue_size = 256

    def __init__(self, port: int = 0):
        super().__init__(("127.0.0.1", port), Handler)
        self.url = f"{address(self)}/v1"
        self.asked: list[dict] = []
        self.keys: set[str] = set()
        self.misbehave: Callable[[int], Fault | None] = lambda count: None
        self.models: Fault | None = None
        self.echoes: Fault | None = None
        self.fixed: Callable[[dict], dict] = lambda asked: completion(reply_to(asked))
        self.owner, self.pages = "test", {}
        self.released = threading.Event()
        self.counting = threading.Lock()

    def shutdown(self) -> None:
        self.released.set()
        super().shutdown()

    def handle_error(self, *_):
        """A client that has hung up is no news."""


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def answer(self, code: int, body: dict | str | bytes, **headers: str) -> None:
        content = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
        framed = {"Content-Type": "application/json", "Content-Length": str(len(content))}
        self.send_response(code)
        for name, value in (framed | {name.replace("_", "-"): value for name, value in headers.items()}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self):
        served = [{"id": name, "object": "model", "owned_by": self.server.owner} for name in ("base", "lora")]
        if self.path in self.server.pages:
            self.answer(200, self.server.pages[self.path])
        elif self.path != "/v1/models":
            self.answer(404, {"error": {"message": "no such page"}})
        elif self.server.models:
            self.server.models(self)
        else:
            self.answer(200, {"object": "list", "data": served})

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/v1/completions" and self.server.echoes:
            self.server.echoes(self)
            return
        if self.path != "/v1/chat/completions":
            self.answer(404, {"error": {"message": "chat only"}})
            return
        if asked["messages"][-1]["content"] in QUESTIONS:
            self.answer(200, self.server.fixed(asked))
            return
        with self.server.counting:
            self.server.asked.append(asked)
            fault = self.server.misbehave(len(self.server.asked))
        self.server.keys.add(self.headers["Authorization"])
        if fault:
            fault(self)
        else:
            self.answer(200, completion(reply_to(asked)))


def reply_to(asked: dict) -> str:
    return REPLY.format(7 if asked["model"] == "lora" else len(asked["messages"][-1]["content"]))


def completion(text: object, finish_reason: str = "stop", tokens: object = 9, **message: object) -> dict:
    """The body of a chat completion."""
    said = {"role": "assistant", "content": text} | message
    return {
        "id": "1",
        "object": "chat.completion",
        "choices": [{"index": 0, "message": said, "finish_reason": finish_reason}],
        "usage": {"prompt_tokens": 1, "completion_tokens": tokens, "total_tokens": 10},
    }
