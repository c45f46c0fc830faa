"""The one exception that a user sees as a line instead of a traceback, and how secrets are kept out of all texts."""

import os
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

_SECRET = re.compile(r"(TOKEN|KEY|SECRET|PASSWORD)$", re.IGNORECASE)
# A shorter value may be in a text by chance.
_SHORTEST = 8
# No more of a text from elsewhere is looked at.
_MOST_READ = 2000
# What ends a sentence, not one that was left open; a message goes on in a sentence of ours.
_FULL_STOP = re.compile(r"(?<!\.)\.$")
WITHHELD = "not shown, as it may contain a key"
# Of the parts between the signs that names are made with: letters and digits in one, or a whole line of them.
_LIKE_A_KEY = re.compile(r"(?=[A-Za-z+=]*[0-9])(?=[0-9+=]*[A-Za-z])[A-Za-z0-9+=]{16,}|[A-Za-z0-9+=]{40,}")


class UserError(Exception):
    """A user's mistake: one line that names it and the fix. The command line exits with 2."""

    def __init__(self, text: str):
        super().__init__(redacted(text))

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows instead of a traceback."""
        return [f"harness: {self}"]


def cause(error: object, longest: int = 160) -> str:
    """A library's message, from an exception or a log, on one line of at most `longest` characters and no full stop.

    Servers echo keys, so secrets are removed first: half a key would not be recognised. WITHHELD where one stands there
    in another writing.
    """
    text = redacted(" ".join(str(error)[:_MOST_READ].split()))
    squeezed = _squeezed(text)
    hidden = (_squeezed(each) for value in secrets().values() for each in writings(value))
    if any(len(each) >= _SHORTEST and each in squeezed for each in hidden):
        return WITHHELD
    return _FULL_STOP.sub("", text[:longest])


def said(text: object, longest: int = 160) -> str:
    """What another program said, as `cause` gives it; WITHHELD where a long word is like a key, a known one or not."""
    whole = cause(text, _MOST_READ)
    return WITHHELD if _LIKE_A_KEY.search(whole) else whole[:longest]


def writings(secret: str) -> Iterator[str]:
    """A secret as it is, backwards, in hexadecimal digits, and as the middle of anything in base64."""
    content = secret.encode("utf-8", "replace")
    yield from (secret, secret[::-1], content.hex())
    for before in range(3):
        coded = b64encode(bytes(before) + content).decode().rstrip("=")
        # The first and the last sign depend on what stands beside the secret.
        yield coded[-(-8 * before // 6) : 8 * (before + len(content)) // 6]


def _squeezed(text: str) -> str:
    """Letters and digits alone, in small letters."""
    return re.sub(r"[\W_]", "", text).lower()


def redacted(text: str) -> str:
    """A text with the values of all known tokens and keys replaced by their names."""
    for name, value in secrets().items():
        text = text.replace(value, f"[{name}]")
    return text


def secrets() -> dict[str, str]:
    """The values of the environment's tokens and keys and of the hub's login by name, the longest first."""
    from huggingface_hub import constants

    values = {name: value.strip() for name, value in os.environ.items() if _SECRET.search(name)}
    if not values.get("HF_TOKEN"):
        with suppress(OSError, ValueError):
            values["HF_TOKEN"] = Path(constants.HF_TOKEN_PATH).read_text(encoding="utf-8").strip()
    long = {name: value for name, value in values.items() if len(value) >= _SHORTEST and not _is_a_file(value)}
    return dict(sorted(long.items(), key=lambda each: -len(each[1])))


def refuse_secrets(texts: Mapping[str, str]) -> None:
    """Raise UserError if one of the texts, given by what they are, contains a known token or key."""
    by_name = secrets()
    for what, text in texts.items():
        if variable := next((name for name, value in by_name.items() if value in text), None):
            raise UserError(f"{what}: contains the value of {variable}: leave it out, the environment has it")


def _is_a_file(value: str) -> bool:
    """Whether a variable holds the path of a key instead of the key."""
    try:
        return value.startswith("/") and Path(value).exists()
    except OSError:
        return False
