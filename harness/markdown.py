"""Texts of anybody's in a Markdown document."""

import re

MARKUP = re.compile(r"([\\`*_{}\[\]<>|#!~$&])")


def one_line(text: object) -> str:
    """A text on one line, without control characters."""
    return "".join(character if character.isprintable() else " " for character in str(text))


def escaped(text: object) -> str:
    """A text that Markdown shows as it is, on one line."""
    return MARKUP.sub(r"\\\1", one_line(text))
