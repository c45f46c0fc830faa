"""The Modelfile beside exported GGUF files, from which `ollama create` makes a model."""

from collections.abc import Sequence
from pathlib import Path

from harness.config import Configuration
from harness.evaluation.prompts import system_text
from harness.models import loading
from train.export import Export

FILE = "Modelfile"
QUOTES = '"""'


def modelfile(export: Export, gguf: Path) -> str:
    """The file's text: the weights, what ends a reply, and how the run asked and sampled, if there is a run.

    Ollama fills in a chat template of its own where it knows the file's, so its replies are measured, not assumed.
    """
    tokenizer = loading.load_tokenizer(export.checkpoint, export.chat_template, export.trust, export.switches)
    ends = tokenizer.convert_ids_to_tokens(sorted(loading.end_tokens(export.checkpoint, tokenizer)))
    return lines_of(gguf.name, ends, export.run.config if export.run else None)


def lines_of(gguf: str, ends: Sequence[str], config: Configuration | None) -> str:
    """The text for a file of weights, tokens that end a reply, and a run. A token that would end its line has none."""
    stops = [f'PARAMETER stop "{end}"' for end in ends if '"' not in end and end.isprintable()]
    return "\n".join([f"FROM ./{gguf}", *stops, *(_as_the_run(config) if config else ())]) + "\n"


def _as_the_run(config: Configuration) -> list[str]:
    sampling = {name: getattr(config, name) for name in ("temperature", "top_p", "top_k", "min_p")}
    lines = [f"PARAMETER {name} {value}" for name, value in sampling.items()]
    lines += [f"PARAMETER num_predict {config.max_tokens}", "PARAMETER repeat_penalty 1.0"]
    system = system_text(config)
    return [*lines, f"SYSTEM {QUOTES}{system}{QUOTES}"] if system and QUOTES not in system else lines
