"""What a server may send instead of an answer, by name: the table that test_hostile_server.py goes through.

REPLIES are sent instead of a chat completion, MODELS instead of the list of models, LOG_PROBABILITIES instead of echoed
ones. Each is (what the server does, what the line says that it ends in; None where the answer is taken, odd as it is).
A new way to misbehave is a line here.
"""

import base64
import gzip
import json

from openai_server import Fault, Handler, completion

KEY = "sk-planted/0123456789+abcdefgh"
CODED = base64.b64encode(f"Bearer {KEY}".encode()).decode()
FAR = "http://far.invalid/v1"
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
WHOLE = json.dumps(completion("7")).encode()
PROTOCOL = "does not answer in OpenAI's protocol"
NO_TOKENS, NO_TEXT = f"{PROTOCOL} .no usage.completion_tokens", f"{PROTOCOL} .a reply that is no text"
NO_JSON, NO_CHOICES, TOO_LONG = f"{PROTOCOL} .not JSON", f"{PROTOCOL} .no choices", f"{PROTOCOL} .longer than"
SLOW, DEAD, WITHHELD = "does not answer in time", "does not answer: ", "not shown, as it may contain a key"
BUSY = "gets too many requests"


def says(body: dict | str | bytes, code: int = 200, **headers: str) -> Fault:
    return lambda handler: handler.answer(code, body, **headers)


def raw(*parts: bytes) -> Fault:
    """Bytes as they are, then the server hangs up."""
    return lambda handler: handler.wfile.write(b"".join(parts))


def endlessly(start: bytes, part: bytes, seconds: float = 0.0) -> Fault:
    """`part` again and again, as long as somebody reads."""

    def write(handler: Handler) -> None:
        handler.wfile.write(start)
        while not handler.server.released.wait(seconds):
            handler.wfile.write(part)

    return write


def hang(handler: Handler) -> None:
    handler.server.released.wait(120)


def hang_in_the_middle(handler: Handler) -> None:
    handler.wfile.write(OK + b"Content-Length: %d\r\n\r\n" % len(WHOLE) + WHOLE[:40])
    hang(handler)


def tokens(text: str) -> Fault:
    """An answer with this in the place of the number of tokens, JSON or not."""
    return says(json.dumps(completion("7", tokens=0)).replace('"completion_tokens": 0', f'"completion_tokens": {text}'))


def error(message: object, code: int = 400, **headers: str) -> Fault:
    return says({"error": {"message": message}}, code, **headers)


def message(**fields: object) -> Fault:
    return says(completion(fields.pop("content", "7"), **fields))


def log_probabilities(values: str) -> Fault:
    return says(f'{{"choices": [{{"text": "", "logprobs": {{"token_logprobs": [null, {values}, -1]}}}}]}}')


CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
BOMB = gzip.compress(b" " * 2**27)
REPLIES: dict[str, tuple[Fault, str | None]] = {
    # Numbers.
    "tokens: 400 digits": (tokens("9" * 400), NO_TOKENS),
    "tokens: 5,000 digits": (tokens("9" * 5000), NO_JSON),
    "tokens: 2^63": (tokens(str(2**63)), NO_TOKENS),
    "tokens: NaN": (tokens("NaN"), NO_TOKENS),
    "tokens: Infinity": (tokens("Infinity"), NO_TOKENS),
    "tokens: 1e999": (tokens("1e999"), NO_TOKENS),
    "tokens: a fraction": (tokens("9.5"), NO_TOKENS),
    "tokens: true": (tokens("true"), NO_TOKENS),
    "tokens: a text": (tokens('"9"'), NO_TOKENS),
    "tokens: less than none": (tokens("-1"), NO_TOKENS),
    "tokens: none for a text": (tokens("0"), NO_TOKENS),
    "tokens: ten times what was asked for": (tokens("999999999"), NO_TOKENS),
    "tokens: none, cut off": (message(content="", finish_reason="length", tokens=0), None),
    "NaN in other places": (says(json.dumps(completion("7") | {"created": float("nan")})), None),
    # Types.
    "null": (says("null"), f"{PROTOCOL} .not an object"),
    "a text": (says('"7"'), f"{PROTOCOL} .not an object"),
    "a number": (says("7"), f"{PROTOCOL} .not an object"),
    "choices: an object": (says({"choices": {"0": {}}}), NO_CHOICES),
    "choices: texts": (says({"choices": ["7"]}), NO_CHOICES),
    "message: a list": (says({"choices": [{"message": ["7"]}], "usage": {"completion_tokens": 1}}), NO_TEXT),
    "content: a number": (message(content=7), NO_TEXT),
    "content: parts": (message(content=[{"type": "text", "text": "7"}]), NO_TEXT),
    "reasoning: an object": (message(reasoning={"a": 1}), NO_TEXT),
    "finish reason: an object": (message(finish_reason={"a": 1}), None),
    "usage: a list": (says(completion("7") | {"usage": [9]}), NO_TOKENS),
    "model: an object": (says(completion("7") | {"model": {"a": 1}}), f"{PROTOCOL} .a name that is no text"),
    "model: 10,000 letters": (says(completion("7") | {"model": "m" * 10_000}), f"{PROTOCOL} .a name of more than"),
    "fingerprint: a list": (says(completion("7") | {"system_fingerprint": [1]}), f"{PROTOCOL} .a name that is no"),
    # Fields.
    "no choices": (says({"usage": {"completion_tokens": 1}}), NO_CHOICES),
    "no usage": (says({"choices": completion("7")["choices"]}), NO_TOKENS),
    "fields twice": (says('{"choices": 7, "usage": 7, ' + WHOLE.decode()[1:]), None),
    "fields that nobody asked for": (says(completion("7", tool_calls=[{}]) | {"x": {"y": [None]}}), None),
    "two completions": (says(completion("7") | {"choices": completion("7")["choices"] * 2}), None),
    "another model's name": (says(completion("7") | {"model": "another"}), None),
    # Sizes.
    "16 MB of lists": (says('{"choices": [' + "[]," * 5_500_000 + "[]]}"), TOO_LONG),
    "16 MB of text": (message(content="x" * 2**24), TOO_LONG),
    "without an end": (endlessly(OK + b'\r\n{"choices": "', b"a" * 2**20), TOO_LONG),
    "100,000 lists deep": (says("[" * 100_000), NO_JSON),
    "900 lists deep": (says('{"error": ' + "[" * 900 + "]" * 900 + "}"), NO_CHOICES),
    "900 objects deep": (says('{"error": {"message": ' + '{"a":' * 900 + "1" + "}" * 902), NO_CHOICES),
    "an error of 16 MB": (says('{"error": [' + "[]," * 5_500_000 + "[]]}", 400), "answered 400"),
    "an error 900 lists deep": (says('{"error": ' + "[" * 900 + "]" * 900 + "}", 400), "answered 400"),
    "a bomb": (says(BOMB, Content_Encoding="gzip"), NO_JSON),
    "compressed by an unknown way": (says(WHOLE, Content_Encoding="x, br, zstd"), None),
    # On the wire.
    "drop by drop": (endlessly(OK + b"\r\n", b" ", 0.1), SLOW),
    "half an answer, then nothing": (hang_in_the_middle, SLOW),
    "nothing": (hang, SLOW),
    "hung up": (raw(), DEAD),
    "less than announced": (raw(OK, b"Content-Length: 9999\r\n\r\n", WHOLE), DEAD),
    "a length that is none": (raw(OK, b"Content-Length: -7\r\n\r\n", WHOLE), DEAD),
    "two lengths": (raw(OK, b"Content-Length: 7\r\nContent-Length: 9\r\n\r\n", WHOLE), DEAD),
    "chunks that are none": (raw(CHUNKED, b"zz\r\n", WHOLE), DEAD),
    "a chunk of 2^60 bytes": (raw(CHUNKED, b"fffffffffffffff\r\n", WHOLE), DEAD),
    "headers without an end": (endlessly(b"HTTP/1.1 200 OK\r\n", b"X-A: " + b"a" * 2**16 + b"\r\n"), DEAD),
    "a header of 1 MB": (says(WHOLE, X_A="a" * 2**20), DEAD),
    "1,000 cookies": (raw(OK, b"Set-Cookie: a=b\r\n" * 1000, b"\r\n", WHOLE), None),
    "not HTTP": (raw(b"\x16\x03\x01 not HTTP\r\n\r\n"), DEAD),
    "HTTP 9.9": (raw(b"HTTP/9.9 200 OK\r\n\r\n", WHOLE), None),
    # Status codes.
    "to be continued": (raw(b"HTTP/1.1 100 Continue\r\n\r\n" * 100, OK, b"\r\n", WHOLE), None),
    "to be continued without an end": (endlessly(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.01), SLOW),
    "another protocol": (raw(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", WHOLE), "answered 101|" + DEAD),
    "204": (raw(b"HTTP/1.1 204 No Content\r\n\r\n"), NO_JSON),
    "206": (says(WHOLE[:40], 206), NO_JSON),
    "moved elsewhere": (says("", 302, Location=FAR), f"302 .look there: {FAR}"),
    "moved here": (says("", 307, Location="/v1/chat/completions"), "307 .look there: /v1/chat"),
    "moved to a file": (says("", 301, Location="file:///etc/passwd"), "301 .look there: file:///etc/passwd"),
    "moved to no address": (raw(b"HTTP/1.1 302 Found\r\nLocation: \xff\xfe\x80\r\n\r\n"), "answered 302"),
    "moved to where the key is": (says("", 302, Location=f"{FAR}?{CODED}"), f"302 .{WITHHELD}"),
    "300": (says("", 300), "answered 300"),
    "418": (says("", 418), "answered 418"),
    "599": (says("no", 599), "answered 599"),
    "999": (raw(b"HTTP/1.1 999 x\r\n\r\n"), f"answered 999|{DEAD}"),
    "429 and infinity": (error("", 429, Retry_After="inf"), BUSY),
    "429 and 1e308": (error("", 429, Retry_After="1e308"), BUSY),
    "429 and a negative pause": (error("", 429, Retry_After="-9"), BUSY),
    "429 and 5,000 digits": (error("", 429, Retry_After="9" * 5000), BUSY),
    "429 and no date": (error("", 429, Retry_After="Mon, 99 Foo 99999 99:99:99 +9999"), BUSY),
    "429 and the year 9999": (error("", 429, Retry_After="Fri, 31 Dec 9999 23:59:59 -2359"), BUSY),
    # Texts.
    "events": (says(b"data: " + WHOLE + b"\n\ndata: [DONE]\n\n", Content_Type="text/event-stream"), NO_JSON),
    "two objects": (says(WHOLE + b"\n" + WHOLE), NO_JSON),
    "UTF-16": (says(WHOLE.decode().encode("utf-16"), Content_Type="application/json; charset=utf-16"), NO_JSON),
    "a byte order mark": (says(b"\xef\xbb\xbf" + WHOLE), NO_JSON),
    "an error in a codec that unpacks": (says(BOMB, 500, Content_Type="x; charset=zlib"), "500"),
    "an error in no codec": (says(b"\xff\xfe no", 500, Content_Type="text/html; charset=x-none"), "answered 500"),
    "halves of pairs": (message(content="7 \ud83d \udc00"), None),
    "controls": (message(content="\x00\x1b[31m\x07\u2028\u202e7"), None),
    "an error with controls": (error("no\x00\x1b[2J\r\n\u202eharness: done"), "answered 400"),
    # Keys.
    "an error with the key": (error(f"bad {KEY}"), r"answered 400 .*\[OPENAI_API_KEY\]"),
    "an error with the key in base64": (error(f"bad {CODED}"), WITHHELD),
    "an error with the key in spaces": (error(f"bad {' '.join(KEY)}"), WITHHELD),
    "an error with the key backwards": (error(f"bad {KEY[::-1]}"), WITHHELD),
    "an error with the key in hexadecimal digits": (error(f"bad {KEY.encode().hex(' ')}"), WITHHELD),
    "an error with somebody's key": (error("bad AKIAIOSFODNN7EXAMPLE"), WITHHELD),
    "a page with the key in base64": (says(f"<p>{CODED}</p>"), f"{NO_JSON}: {WITHHELD}"),
    "a reply with the key": (message(content=f"It is {KEY}."), f"{PROTOCOL} .a reply that contains the key"),
    "a reply with the key in base64": (message(content=CODED), f"{PROTOCOL} .a reply that contains the key"),
    "a model by the name of the key": (says(completion("7") | {"model": KEY}), f"{PROTOCOL} .a name that contains"),
}  # fmt: skip


def served(*models: object) -> Fault:
    return says({"object": "list", "data": [*models]})


NO_LIST = f"{PROTOCOL} .no list of models"
MODELS: dict[str, tuple[Fault, str | None]] = {
    "a page": (says("<html>"), NO_JSON),
    "a list without a name": (served({"name": "base"}), NO_LIST),
    "a list of texts": (served("base"), NO_LIST),
    "a number for the list": (says({"data": 3}), NO_LIST),
    "a number for a name": (served({"id": 7}), f"{PROTOCOL} .a name that is no text"),
    "an object for an owner": (served({"id": "base", "owned_by": {"a": 1}}), f"{PROTOCOL} .a name that is no text"),
    "the key for a name": (served({"id": KEY}), f"{PROTOCOL} .a name that contains the key"),
    "the key in base64 for an owner": (served({"id": "base", "owned_by": CODED}), "a name that contains the key"),
    "a name of 1 MB": (served({"id": "m" * 2**20}), f"{PROTOCOL} .a name of more than"),
    "100,000 names": (says('{"data": [' + '{"id": "x"},' * 100_000 + '{"id": "y"}]}'), "serves x, y: name one|serves"),
    "16 MB": (says("[" + '{"":0},' * 2_300_000 + "0]"), TOO_LONG),
    "without an end": (endlessly(OK + b"\r\n[", b"0," * 2**19), TOO_LONG),
    "drop by drop": (endlessly(OK + b"\r\n", b" ", 0.1), SLOW),
    "moved elsewhere": (says("", 302, Location=FAR), f"302 .look there: {FAR}"),
}  # fmt: skip

# With any of these the adapter is checked by its replies.
LOG_PROBABILITIES: dict[str, Fault] = {
    name: log_probabilities(values)
    for name, values in {
        "400 digits": "9" * 400, "Infinity": "Infinity", "-Infinity": "-Infinity", "NaN": "NaN", "1e200": "1e200",
        "above 1": "7", "a text": '"-1"', "true": "true", "null": "null", "none": "", "a list": "[-1]",
    }.items()
} | {"16 MB of them": log_probabilities("-1," * 2**22 + "-1"), "a page": says("<html>"), "hung up": raw()}  # fmt: skip
