"""Measure a model that a program holds in memory: a notebook's after its own training, or a trainer's on the way."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from harness import registry
from harness.cli.run_checks import check_metrics
from harness.cli.stage_functions import write_report
from harness.config import Configuration
from harness.configure import settled
from harness.data import datasets
from harness.engines import IN_MEMORY, Engine, Setup
from harness.errors import UserError, refuse_secrets
from harness.evaluation import evaluate as evaluation
from harness.names_elsewhere import NAMES_ELSEWHERE
from harness.notebook import StoredRun, load_run
from harness.stages import BASE, LAST, REPORT, STAGES
from harness.storage.run_folder import Run

RUNS = Path("runs")
# The recipe keys that act where a model is measured and nothing is trained by us.
SETTINGS = (
    "name", "dataset", "data", "split", "question_column", "answer_column", "limit", "limit_order", "format",
    "language", "system_prompt", "chat_template", "chat_template_kwargs", "primary", "samples", "baseline_samples",
    "temperature", "top_p", "top_k", "min_p", "max_tokens", "seed", "rewards", "variant",
)  # fmt: skip


def evaluate(
    model: Any,
    tokenizer: Any,
    *,
    output: str | Path | None = None,
    batch_size: int = 64,
    quiet: bool = False,
    **settings: Any,
) -> StoredRun:
    """Measure a model in memory; documented at harness.evaluate."""
    from harness.engines import in_memory

    refuse_unknown(settings, SETTINGS)
    in_memory.refuse_other_models(model)
    adapter = in_memory.adapter_of(model)
    config = configuration_of(model, settings, batch_size, adapter)
    run = new_run(config, output, called("evaluate", "model, tokenizer", settings))
    with in_memory.lent(model):
        measure(run, (BASE, LAST) if adapter else (BASE,), model, tokenizer, quiet)
    write_report(run, STAGES[REPORT], quiet, None)
    return load_run(run.path)


def refuse_unknown(settings: Iterable[str], known: Sequence[str]) -> None:
    """Raise UserError for the first setting that is no recipe key, or does nothing here."""
    for key in settings:
        registry.choose("setting", key, known, NAMES_ELSEWHERE)


def configuration_of(model: Any, settings: dict[str, Any], batch_size: int, adapter: str | None) -> Configuration:
    """The configuration of a run that measures a model in memory; `settings` are recipe keys.

    Raises UserError if a value is wrong.
    """
    from harness.engines.in_memory import weights_of

    checkpoint = str(getattr(model.config, "name_or_path", "") or type(model).__name__)
    own = {
        "name": checkpoint.rstrip("/").rpartition("/")[2],
        "checkpoint": checkpoint,
        "engine": IN_MEMORY,
        "engine_args": {"batch_size": str(batch_size)},
        "adapter": adapter,
        "weights": "4-bit" if weights_of(model) == "4-bit" else "16-bit",
    }
    config = datasets.settle_split(settled(own, settings), trains=False)
    check_metrics(config)
    return config


def new_run(config: Configuration, output: str | Path | None, command: str, continues: bool = False) -> Run:
    """A new, locked run folder, as one model in memory cannot be told from the next; an older one is kept beside it.

    `continues`: the run that is there already. Raises UserError if the folder holds something else, or `command` a
    secret.
    """
    refuse_secrets({"the command": command})
    return Run.create(Path(output or RUNS / config.folder_name), config, command, fresh=not continues)


def called(function: str, given: str, settings: dict[str, Any]) -> str:
    """What a user types to repeat a run: the call of a function of ours."""
    arguments = [given] if given else []
    return f"harness.{function}({', '.join([*arguments, *(f'{key}={value!r}' for key, value in settings.items())])})"


def measure(run: Run, sides: Sequence[str], model: Any, tokenizer: Any, quiet: bool) -> None:
    """Evaluate the sides with a model that is lent to us; a run that was refused before its first reply is removed."""
    config = run.config
    try:
        evaluation.evaluate(run, sides, config.adapter, quiet, None, engine_for(config, model, tokenizer))
    except UserError:
        run.remove_if_empty()
        raise


def engine_for(config: Configuration, model: Any, tokenizer: Any) -> Engine:
    """The engine of a run that measures a model in memory. Raises UserError if the tokenizer is none for it."""
    from harness.engines.in_memory import InMemoryEngine

    setup = Setup(
        config.checkpoint,
        config.adapter,
        config.engine_args,
        config.seed,
        config.chat_template,
        switches=config.chat_template_kwargs,
    )
    return InMemoryEngine(model, tokenizer, setup)
