"""Texts of anybody's in a Markdown document, on a page, on a terminal."""

import re

# Besides Markdown's own signs: what GitHub makes links of by itself, addresses.
MARKUP = re.compile(r"[\\`*_{}\[\]<>|#!~$&]|:(?=//)|(?<=www)\.", re.IGNORECASE)
# No sign that is escaped keeps GitHub from calling whoever goes by a name behind it; one without width does.
MENTION = re.compile("@(?=\\w)")
NO_WIDTH = "&#8203;"
# What makes a list, a heading or a rule of a line that it opens.
OPENING = re.compile(r"^(?=[-+=](?:[-=\s]|$))|^\d{1,9}(?=[.)](?:\s|$))")
SHAPELESS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\U000e0000-\U000e007f]"
)


def one_line(text: object) -> str:
    """A text on one line, without control characters."""
    return "".join(character if character.isprintable() else " " for character in str(text))


def escaped(text: object) -> str:
    """A text that Markdown shows as it is, on one line."""
    line = MARKUP.sub(lambda sign: f"\\{sign[0]}", one_line(text).strip())
    return OPENING.sub(r"\g<0>\\", MENTION.sub(f"@{NO_WIDTH}", line))


def visible(text: str) -> str:
    """A text whose characters without a shape, or that turn the text around them, are shown by their numbers."""
    return SHAPELESS.sub(lambda one: f"\u2039U+{ord(one[0]):04X}\u203a", text)
