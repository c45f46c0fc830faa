"""How a conversation becomes text: one way for training and evaluation, by the tokenizer's own chat template.

A run's changes to a template (a thinking switch, a system role that it lacks) are lines of Jinja before its text. So
whatever renders with the tokenizer renders the same: an engine, TRL, Unsloth, an exported checkpoint.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.bounds import bounded
from harness.errors import UserError, cause
from harness.memory import read_text
from harness.parsing import formats
from harness.types import Format

DEFAULT = "default"
BOM = "\ufeff"
# What rendering a faulty template raises.
FAULTS = (
    TypeError, ValueError, LookupError, ArithmeticError, AttributeError, RecursionError, SyntaxError, MemoryError,
    TimeoutError,
)  # fmt: skip
# The most characters that a template may add to a conversation, besides repeating it.
MOST_ADDED, MOST_REPEATED = 100_000, 4
# Each ends with a block and a newline, which Jinja drops, so that the template's own text still starts a line.
SWITCH = "{{% if {name} is not defined %}}{{% set {name} = {value} %}}{{% endif %}}\n"
SYSTEM_TO_USER = (
    "{% if messages | length > 1 and messages[0]['role'] == 'system' and messages[1]['role'] == 'user' %}"
    "{% set messages = [{'role': 'user', 'content': messages[0]['content'] + '\\n\\n' + messages[1]['content']}]"
    " + messages[2:] %}{% endif %}\n"
)
# Variables that every prompt sets.
OURS = ("messages", "add_generation_prompt", "tools", "documents")
IN_USERS_TURN = "in the user's turn"
SYSTEM_PROBE, QUESTION_PROBE, REPLY_PROBE = "Add the numbers up.", "How many are 12 and 34?", "They are 46."


def templates_in(folder: Path) -> dict[str, str]:
    """The chat templates of a checkpoint folder by name, as transformers finds them: in files, else in the settings.

    Raises UserError if one cannot be read.
    """
    files = {DEFAULT: folder / "chat_template.jinja"} if (folder / "chat_template.jinja").is_file() else {}
    files |= {file.stem: file for file in sorted((folder / "additional_chat_templates").glob("*.jinja"))}
    try:
        if files:
            return {name: read_text(file, "utf-8-sig") for name, file in files.items()}
        settings = json.loads(read_text(folder / "tokenizer_config.json", "utf-8"))
        return by_name(settings.get("chat_template"), str(folder / "tokenizer_config.json"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{folder}: its chat template cannot be read ({cause(error)}): copy the files again") from error


def by_name(templates: Any, where: str) -> dict[str, str]:
    """Templates by name, from the forms in tokenizer_config.json: a text, texts by name, a list of {name, template}."""
    if not templates:
        return {}
    if isinstance(templates, list) and all(isinstance(each, dict) for each in templates):
        templates = {each.get("name"): each.get("template") for each in templates}
    named = templates if isinstance(templates, dict) else {DEFAULT: templates}
    if not all(isinstance(text, str) for pair in named.items() for text in pair):
        raise UserError(f"{where}: chat_template is no text and no list of name and template: fix it")
    return named


def choose(own: Mapping[str, str], chosen: str, where: str) -> str:
    """The text of the template to use: `chosen` is a text, or the name of one of the model's `own`; '' is its default.

    Raises UserError if there is no such template.
    """
    if chosen and chosen not in own:
        if "{" in chosen:
            return chosen.removeprefix(BOM)
        has = f"the model has {', '.join(sorted(own))}" if own else "the model has none of its own"
        raise UserError(f"chat_template = {chosen[:40]}: no template's text, .jinja file or name ({has}): fix it")
    if text := own.get(chosen or DEFAULT):
        return text.removeprefix(BOM)
    if own:
        raise UserError(
            f"{where}: several chat templates ({', '.join(sorted(own))}) and none is called {DEFAULT}: choose one: "
            "--set chat_template=NAME"
        )
    raise UserError(f"{where}: no chat template beside its tokenizer: give an instruction-tuned model")


def refuse_unused(switches: Mapping[str, Any], template: str, where: str) -> None:
    """Raise UserError for the first switch that the template's text does not mention."""
    for name in switches:
        if name in OURS or not re.search(rf"\b{name}\b", template):
            raise UserError(f"chat_template_kwargs: the chat template of {where} does not use {name}: leave it out")


def settle(tokenizer: Any, chosen: str, switches: Mapping[str, Any], where: str) -> None:
    """Give the tokenizer the one template that every prompt is rendered with.

    The template is `chosen`, with the `switches` set; if it has no system role, or leaves the system prompt out, that
    goes into the user's turn. Raises UserError if there is no such template, or if it leaves the question out.
    """
    text = choose(by_name(tokenizer.chat_template, where), chosen, where)
    refuse_unused(switches, text, where)
    lines = [SWITCH.format(name=name, value=json.dumps(value, ensure_ascii=False)) for name, value in switches.items()]
    tokenizer.chat_template = plain = "".join(lines) + text
    if QUESTION_PROBE not in render(tokenizer, formats.messages(QUESTION_PROBE, None)):
        raise UserError(f"{where}: its chat template leaves the question out: give another: --set chat_template=FILE")
    if not _shows_system(tokenizer):
        tokenizer.chat_template = SYSTEM_TO_USER + plain
        if not _shows_system(tokenizer):
            tokenizer.chat_template = plain


def _shows_system(tokenizer: Any) -> bool:
    try:
        prompt = render(tokenizer, formats.messages(QUESTION_PROBE, SYSTEM_PROBE))
    except UserError:
        return False
    return SYSTEM_PROBE in prompt and QUESTION_PROBE in prompt


def provenance(tokenizer: Any) -> dict[str, str]:
    """What a report says about the rendering of prompts; empty if it is the template's own way."""
    return {"system_prompt": IN_USERS_TURN} if SYSTEM_TO_USER in tokenizer.chat_template else {}


def render(tokenizer: Any, messages: list[dict[str, str]], answered: bool = False) -> str:
    """The conversation as the text that the model continues, or with `answered` as a whole that ends with the reply.

    Raises UserError if the template refuses it, or takes more time, memory or characters than a conversation needs.
    """
    from jinja2 import TemplateError

    try:
        with bounded():
            text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=not answered)
        text.encode()
        if len(text) > MOST_ADDED + MOST_REPEATED * sum(len(message["content"]) for message in messages):
            raise ValueError(f"makes {len(text)} characters of it")
        return text
    except (TemplateError, *FAULTS) as error:
        raise UserError(
            f"the model's chat template refuses the prompt ({cause(error)}): give another: --set "
            "chat_template=FILE.jinja"
        ) from error


def lesson(tokenizer: Any, asked: list[dict[str, str]], reply: str, format: Format, end: str) -> str:
    """A text for SFT: the prompt exactly as evaluation renders it, then the reply, then the turn's `end`.

    Not the template's own rendering of the reply, as many templates drop its reasoning.
    """
    prompt = render(tokenizer, asked)
    opened = formats.prompt_prefix(prompt, format)
    completion = reply.removeprefix(opened)
    return prompt + (completion.lstrip() if opened and prompt[-1].isspace() else completion) + end


def answered(tokenizer: Any, asked: list[dict[str, str]], reply: str) -> str | None:
    """The conversation with its reply as the template renders it; None if the template refuses it."""
    try:
        return render(tokenizer, [*asked, {"role": "assistant", "content": reply}], answered=True)
    except UserError:
        return None


def behind_reply(tokenizer: Any) -> str:
    """What the template writes after a reply; '' if that is nothing, or if the template refuses."""
    conversation = answered(tokenizer, formats.messages(QUESTION_PROBE, None), REPLY_PROBE) or ""
    return conversation.rpartition(REPLY_PROBE)[2] if REPLY_PROBE in conversation else ""


def end_of_turn(tokenizer: Any) -> str:
    """What ends a reply: what the template writes after it, else the tokenizer's end-of-sequence token."""
    end = behind_reply(tokenizer)
    return end if end.strip() else tokenizer.eos_token or ""
