"""The one exception that is shown to a user instead of a traceback, and what no message may hold: secrets."""

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

_SECRET = re.compile(r"(TOKEN|KEY|SECRET|PASSWORD)$", re.IGNORECASE)
# A shorter value is a word that stands in many a text by chance.
_SHORTEST = 8


class UserError(Exception):
    """A mistake of the user's: one line that names it and the fix. The command line exits with 2."""

    def __init__(self, text: str):
        super().__init__(redacted(text))


def cause(error: object, longest: int = 160) -> str:
    """What a library says, in an exception or a log, on one line of at most so many characters.

    Servers echo keys, so those are taken out first: half a key would not be known again.
    """
    return redacted(" ".join(str(error).split()))[:longest]


def redacted(text: str) -> str:
    """A text in which the values of tokens and keys that this process knows are replaced by their names."""
    for name, value in secrets().items():
        text = text.replace(value, f"[{name}]")
    return text


def secrets() -> dict[str, str]:
    """The environment's tokens and keys and the hub's login, by name, the longest first."""
    from huggingface_hub import constants

    found = {name: value.strip() for name, value in os.environ.items() if _SECRET.search(name)}
    if not found.get("HF_TOKEN"):
        with suppress(OSError, ValueError):
            found["HF_TOKEN"] = Path(constants.HF_TOKEN_PATH).read_text(encoding="utf-8").strip()
    known = {name: value for name, value in found.items() if len(value) >= _SHORTEST and not _is_a_file(value)}
    return dict(sorted(known.items(), key=lambda each: -len(each[1])))


def refuse_secrets(texts: Mapping[str, str]) -> None:
    """A UserError where one of the texts, by what they are, holds a token or key that this process knows."""
    known = secrets()
    for what, text in texts.items():
        if held := next((name for name, value in known.items() if value in text), None):
            raise UserError(f"{what}: holds the value of {held}: leave it to the environment, which is asked")


def _is_a_file(value: str) -> bool:
    """Whether a variable says where a key lies, and not the key."""
    try:
        return value.startswith("/") and Path(value).exists()
    except OSError:
        return False
