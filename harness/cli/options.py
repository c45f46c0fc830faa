"""The options that make a configuration, declared once and given to every command that needs one."""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.errors import UserError
from harness.parsing.named_formats import FORMAT_NAMES

Json = Annotated[bool, typer.Option("--json", help="A machine-readable last line.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress.")]


def _option(*names: str, help: str) -> Any:
    return typer.Option(*names, help=help, show_default=False)


# Option name -> (type, typer option, configuration key or None if it is no key).
OPTIONS: dict[str, tuple[type, Any, str | None]] = {
    "model": (
        str,
        _option("--model", help="A recipe's name, a checkpoint folder, a GGUF file or a hub id (default: tiny)."),
        None,
    ),
    "recipe": (str, _option("--recipe", help="The recipe that goes with a folder or id: name or .toml file."), None),
    "dataset": (str, _option("--dataset", help="A dataset's name, or a local file or folder."), "dataset"),
    "data": (str, _option("--data", help="A local copy of a named dataset: file or folder."), "data"),
    "question_column": (str, _option("--question-column", help="The column of the questions."), "question_column"),
    "answer_column": (str, _option("--answer-column", help="The column of the true answers."), "answer_column"),
    "split": (str, _option("--split", help="The split to evaluate (default: test)."), "split"),
    "format": (str, _option("--format", help=f"Output format: {FORMAT_NAMES}."), "format"),
    "limit": (int, _option("--limit", help="Evaluate at most so many problems, chosen by hash."), "limit"),
    "samples": (int, _option("--samples", help="Replies per problem."), "samples"),
    "baseline_samples": (
        int,
        _option("--baseline-samples", help="Replies per problem of the base model (default: as --samples)."),
        "baseline_samples",
    ),
    "primary": (str, _option("--primary", help="The one metric that gets a verdict: accuracy_flexible."), "primary"),
    "stop_early": (
        bool,
        _option("--stop-early", help="Stop once that metric's difference is clear: fewer replies."),
        "stop_early",
    ),
    "engine": (str, _option("--engine", help="auto, transformers, vllm, openai or scripted."), "engine"),
    "engine_arg": (list[str], _option("--engine-arg", help="key=value for the engine; may be repeated."), None),
    "trainer": (str, _option("--trainer", help="auto, trl or unsloth."), "trainer"),
    "adapter": (
        str,
        _option("--adapter", help="A LoRA adapter that exists already: a folder, or a served name."),
        "adapter",
    ),
    "trust_remote_code": (
        bool,
        _option("--trust-remote-code", help="Run the Python code that the checkpoint brings along."),
        "trust_remote_code",
    ),
    "language": (str, _option("--language", help="Target language of the reasoning, or none."), "language"),
    "system_prompt": (str, _option("--system-prompt", help="default, none or a text file."), "system_prompt"),
    "skip_sft": (bool, _option("--skip-sft", help="Leave out the recipe's SFT stage."), None),
    "also": (str, _option("--also", help="Tasks of lm-eval to run before and after: arc_easy,hellaswag."), None),
    "seed": (int, _option("--seed", help="The seed of sampling and training."), "seed"),
    "training_seeds": (
        int,
        _option("--training-seeds", help="Train so many times, seeds s, s+1, …, and evaluate each adapter."),
        "training_seeds",
    ),
    "set": (list[str], _option("--set", help="Any recipe key, as key=value; may be repeated."), None),
}


def takes_configuration(command: Callable) -> Callable:
    """Give a command OPTIONS; it receives their Configuration as its first argument.

    A parameter of the command itself replaces the option of that name.
    """
    own = list(inspect.signature(command).parameters.values())[1:]
    taken = {parameter.name for parameter in own} & OPTIONS.keys()

    @functools.wraps(command)
    def wrapper(**given: Any) -> Any:
        options = {name: None if name in taken else given.pop(name) for name in OPTIONS}
        return command(_configure(options), **given)

    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option])
        for name, (kind, option, _) in OPTIONS.items()
        if name not in taken
    ]
    wrapper.__signature__ = inspect.Signature(
        [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own] + shared
    )
    wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in own + shared}
    del wrapper.__wrapped__
    return wrapper


def _configure(options: dict[str, Any]):
    from harness.config import NOTHING
    from harness.configure import configure, key_values, read_system_prompt
    from harness.engines import SERVER

    for name, value in options.items():
        if value == "":
            raise UserError(f"--{name.replace('_', '-')} is empty: give it a value or leave it out")
    keys = {key: options[name] for name, (_, _, key) in OPTIONS.items() if key}
    if keys["system_prompt"]:
        keys["system_prompt"] = read_system_prompt(keys["system_prompt"])
    if keys["data"]:
        keys["data"] = str(Path(keys["data"]).resolve())
    if options["skip_sft"]:
        keys["sft_dataset"] = NOTHING
    if options["also"]:
        keys["also"] = tuple(name.strip() for name in options["also"].split(","))
    if options["engine_arg"]:
        keys["engine_args"] = key_values("--engine-arg", options["engine_arg"])
    config = configure(options["model"], options["recipe"], keys, options["set"] or [])
    if config.adapter and config.engine != SERVER:
        return config.model_copy(update={"adapter": str(Path(config.adapter).resolve())})
    return config
