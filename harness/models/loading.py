"""Load a checkpoint's model or tokenizer, in one place, so that one line decides about safetensors and foreign code."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness.config import EMBEDDED
from harness.errors import UserError, cause
from harness.models import chat, hub, model_files, tokenizer_trial, turn_ends
from harness.models.checkpoint_checks import NO_SWITCHES, needs_trust
from harness.models.checkpoints import file_of, locate, model_config, settings
from harness.models.faults import lacks_memory, message_of

# What transformers raises for a folder that is no checkpoint has no common class.
LOADING_ERRORS = (
    OSError, ValueError, TypeError, AttributeError, RuntimeError, LookupError, ImportError, AssertionError
)  # fmt: skip


def load(loader: Any, checkpoint: str, trust: bool, **arguments: Any) -> Any:
    """What `loader.from_pretrained` returns. `trust` allows the checkpoint's own code. Raises UserError if it fails."""
    from huggingface_hub.errors import StrictDataclassError
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    where = locate(checkpoint)
    try:
        return loader.from_pretrained(where, trust_remote_code=trust, **arguments)
    except StrictDataclassError as error:
        raise UserError(
            f"{checkpoint}: config.json is not what transformers expects ({cause(error, 200)}): fix that key"
        ) from error
    except Exception as error:
        # The library tokenizers raises Exception itself.
        if type(error) is not Exception and not isinstance(error, (*LOADING_ERRORS, MemoryError)):
            raise
        if lacks_memory(message_of(error)):
            raise UserError(f"{checkpoint}: does not fit into memory: free some, or give a smaller model") from error
        if not trust and "trust_remote_code" in str(error):
            raise needs_trust(checkpoint) from error
        message = f"{type(error).__name__}: {error}" if isinstance(error, LookupError) else error
        if Path(where).is_dir():
            raise UserError(
                f"{checkpoint}: cannot be loaded ({cause(message)}): give --model a whole checkpoint folder"
            ) from error
        raise UserError(
            f"{checkpoint}: cannot be loaded from {hub.where()} ({cause(message)}): "
            f"{hub.fix('give --model a downloaded folder')}"
        ) from error


def load_model(checkpoint: str, trust: bool, **arguments: Any) -> Any:
    """The checkpoint's language model, from safetensors alone.

    Raises UserError if its files lack a weight, which transformers would fill in at random.
    """
    from transformers import AutoModelForCausalLM

    arguments |= {"use_safetensors": True, "output_loading_info": True, "ignore_mismatched_sizes": True}
    model, info = load(AutoModelForCausalLM, checkpoint, trust, **arguments)
    for name, stored, expected in sorted(info["mismatched_keys"]):
        raise UserError(
            f"{checkpoint}: {name} is {list(stored)} in its files and {list(expected)} by config.json: give the folder "
            "its own config.json"
        )
    if missing := sorted(info["missing_keys"]):
        raise UserError(
            f"{checkpoint}: its files lack {len(missing)} of the model's weights ({missing[0]}): copy all of them again"
        )
    return model


def load_tokenizer(
    checkpoint: str, chat_template: str = "", trust: bool = False, switches: Mapping[str, Any] = NO_SWITCHES
) -> Any:
    """The checkpoint's tokenizer, which pads on the left, as generation needs, with a token used for nothing else.

    `chat_template` replaces its own; `switches` (chat_template_kwargs) are set in it. Raises UserError if it has none.
    """
    from transformers import AutoTokenizer

    _try_tokenizer(checkpoint)
    tokenizer = load(AutoTokenizer, checkpoint, trust, padding_side="left")
    config = model_config(checkpoint)
    vocabulary = model_files.language_model(config).get("vocab_size")
    model_files.refuse_another_tokenizer(tokenizer, vocabulary, checkpoint)
    chat.settle(tokenizer, chat_template, switches, checkpoint)
    turn_ends.give_pad_token(tokenizer, end_tokens(checkpoint, tokenizer), config)
    return tokenizer


def _try_tokenizer(checkpoint: str) -> None:
    with suppress(OSError, ValueError):  # where it cannot be downloaded, loading says why
        if checkpoint != EMBEDDED and (file := file_of(checkpoint, "tokenizer.json")):
            tokenizer_trial.check(file)


def end_tokens(checkpoint: str, tokenizer: Any) -> frozenset[int]:
    """The ids of the tokens that end a completion of a checkpoint; the tokenizer may have another chat template."""
    generation_config = settings(checkpoint, "generation_config.json")
    return turn_ends.end_tokens(tokenizer, generation_config, model_config(checkpoint))
