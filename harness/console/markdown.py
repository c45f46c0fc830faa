"""Make any text safe for a Markdown document, a page or a terminal."""

import re

# Markdown's own signs, and the addresses that GitHub turns into links by itself.
MARKUP = re.compile(r"[\\`*_{}\[\]<>|#!~$&]|:(?=//)|(?<=www)\.", re.IGNORECASE)
# GitHub notifies the user of an @name even if the @ is escaped; a character without width prevents it.
MENTION = re.compile("@(?=\\w)")
NO_WIDTH = "&#8203;"
# What at the start of a line makes it a list, a heading or a rule.
OPENING = re.compile(r"^(?=[-+=](?:[-=\s]|$))|^\d{1,9}(?=[.)](?:\s|$))")
SHAPELESS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\U000e0000-\U000e007f]"
)
# What GitHub, Azure and TeamCity take out of a job's log as a command to themselves: ::set-output …, ##[add-mask]x.
ORDER = re.compile(r"^\s*:(?=:)|##\w*(?=\[)")


def one_line(text: object) -> str:
    """A text on one line, without control characters."""
    return "".join(character if character.isprintable() else " " for character in str(text))


def log_line(text: object) -> str:
    """A text on one line, without control characters, and without a command to the system whose log it may be in.

    What it makes of a text begins with what it makes of the text's beginning.
    """
    return ORDER.sub(r"\g<0> ", one_line(text))


def escaped(text: object) -> str:
    """A text on one line, escaped so that Markdown shows it as it is."""
    line = MARKUP.sub(lambda sign: f"\\{sign[0]}", one_line(text).strip())
    return OPENING.sub(r"\g<0>\\", MENTION.sub(f"@{NO_WIDTH}", line))


def visible(text: str) -> str:
    """A text in which invisible characters, and those that change its direction, are shown by their numbers."""
    return SHAPELESS.sub(lambda one: f"\u2039U+{ord(one[0]):04X}\u203a", text)
