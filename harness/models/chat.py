"""How a conversation becomes text: one way for training and evaluation, by the tokenizer's own chat template.

What a run asks of a template besides (a thinking switch, a system role that it lacks) is put before its text as a line
of Jinja. So whoever renders with the tokenizer renders the same: an engine, TRL, Unsloth, an exported checkpoint.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.errors import UserError, cause
from harness.parsing import formats
from harness.types import Format

DEFAULT = "default"
BOM = "\ufeff"
# What a template's text raises is the template's own fault, whatever its class.
FAULTS = (TypeError, ValueError, LookupError, ArithmeticError, AttributeError, RecursionError)
# Each ends with a block and the end of a line, which Jinja drops: the template's own text begins on a line as before.
SWITCH = "{{% if {name} is not defined %}}{{% set {name} = {value} %}}{{% endif %}}\n"
SYSTEM_TO_USER = (
    "{% if messages | length > 1 and messages[0]['role'] == 'system' and messages[1]['role'] == 'user' %}"
    "{% set messages = [{'role': 'user', 'content': messages[0]['content'] + '\\n\\n' + messages[1]['content']}]"
    " + messages[2:] %}{% endif %}\n"
)
# What every prompt is rendered with.
OURS = ("messages", "add_generation_prompt", "tools", "documents")
IN_USERS_TURN = "in the user's turn"
SYSTEM_PROBE, QUESTION_PROBE, REPLY_PROBE = "Add the numbers up.", "How many are 12 and 34?", "They are 46."


def templates_in(folder: Path) -> dict[str, str]:
    """The chat templates of a checkpoint folder by name, as transformers finds them: in files, else in the settings.

    A UserError where one cannot be read.
    """
    files = {DEFAULT: folder / "chat_template.jinja"} if (folder / "chat_template.jinja").is_file() else {}
    files |= {file.stem: file for file in sorted((folder / "additional_chat_templates").glob("*.jinja"))}
    try:
        if files:
            return {name: file.read_text(encoding="utf-8-sig") for name, file in files.items()}
        settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        return by_name(settings.get("chat_template"), str(folder / "tokenizer_config.json"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{folder}: its chat template cannot be read ({cause(error)}): copy the files again") from error


def by_name(templates: Any, where: str) -> dict[str, str]:
    """Templates as tokenizer_config.json may hold them: one text, texts by name, or a list of {name, template}."""
    if not templates:
        return {}
    if isinstance(templates, list) and all(isinstance(each, dict) for each in templates):
        templates = {each.get("name"): each.get("template") for each in templates}
    named = templates if isinstance(templates, dict) else {DEFAULT: templates}
    if not all(isinstance(text, str) for pair in named.items() for text in pair):
        raise UserError(f"{where}: chat_template is no text and no list of name and template: fix it")
    return named


def choose(own: Mapping[str, str], chosen: str, where: str) -> str:
    """The text of the template that is used: `chosen` is a text, or the name of one of the model's `own`; '' is its
    default. A UserError where that does not say which."""
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
    """A UserError for the first switch that the template's text does not mention."""
    for name in switches:
        if name in OURS or not re.search(rf"\b{name}\b", template):
            raise UserError(f"chat_template_kwargs: the chat template of {where} leaves no {name} open: leave it out")


def settle(tokenizer: Any, chosen: str, switches: Mapping[str, Any], where: str) -> None:
    """Give the tokenizer the one template that every prompt is rendered with.

    The template is `chosen`, with the `switches` set; where it has no system role, or leaves the system prompt out,
    that goes into the user's turn. A UserError where it is not to be had or leaves the question out.
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
        said = render(tokenizer, formats.messages(QUESTION_PROBE, SYSTEM_PROBE))
    except UserError:
        return False
    return SYSTEM_PROBE in said and QUESTION_PROBE in said


def provenance(tokenizer: Any) -> dict[str, str]:
    """What a report says of how prompts are rendered, where it is not the template's own way."""
    return {"system_prompt": IN_USERS_TURN} if SYSTEM_TO_USER in tokenizer.chat_template else {}


def render(tokenizer: Any, messages: list[dict[str, str]], answered: bool = False) -> str:
    """The conversation as the text that the model continues; `answered`, as a whole that ends with the reply."""
    from jinja2 import TemplateError

    try:
        return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=not answered)
    except (TemplateError, *FAULTS) as error:
        raise UserError(
            f"the model's chat template refuses the prompt ({cause(error)}): give another: --set "
            "chat_template=FILE.jinja"
        ) from error


def lesson(tokenizer: Any, asked: list[dict[str, str]], reply: str, format: Format, end: str) -> str:
    """What SFT learns: the very prompt that evaluation continues, then the reply, then the turn's `end`.

    Templates render an answered turn for conversations that go on: many drop its reasoning.
    """
    prompt = render(tokenizer, asked)
    opened = formats.prompt_prefix(prompt, format)
    completion = reply.removeprefix(opened)
    return prompt + (completion.lstrip() if opened and prompt[-1].isspace() else completion) + end


def answered(tokenizer: Any, asked: list[dict[str, str]], reply: str) -> str | None:
    """The conversation with its reply as the template renders it; None where it refuses."""
    try:
        return render(tokenizer, [*asked, {"role": "assistant", "content": reply}], answered=True)
    except UserError:
        return None


def behind_reply(tokenizer: Any) -> str:
    """What the template writes behind an answered turn's reply; '' where that is nothing, or it refuses."""
    said = answered(tokenizer, formats.messages(QUESTION_PROBE, None), REPLY_PROBE) or ""
    return said.rpartition(REPLY_PROBE)[2] if REPLY_PROBE in said else ""


def end_of_turn(tokenizer: Any) -> str:
    """What stands behind a reply: as the template ends an answered turn, else the tokenizer's end-of-sequence token."""
    end = behind_reply(tokenizer)
    return end if end.strip() else tokenizer.eos_token or ""
