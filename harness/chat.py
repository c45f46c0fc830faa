"""How a conversation becomes text: one way for training and evaluation, by the tokenizer's own chat template."""

from typing import Any

from harness.errors import UserError


def render(tokenizer: Any, messages: list[dict[str, str]], answered: bool = False) -> str:
    """The conversation as the text that the model continues; `answered`, as a whole that ends with the reply."""
    from jinja2 import TemplateError

    try:
        return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=not answered)
    except TemplateError as error:
        raise UserError(f"the model's chat template refuses the prompt ({error}): try --system-prompt none") from error
