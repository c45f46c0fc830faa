"""The options that make a configuration, declared once and given to every command that needs one."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from harness.errors import UserError
from harness.parsing.named_formats import FORMAT_NAMES
from harness.storage.links import real_path
from reports.texts import Language

# Panels of the help.
MODEL, DATA, MEASUREMENT, TRAINING, OUTPUT = "Model", "Data", "Evaluation", "Training", "Output"
PANELS = (None, MODEL, DATA, MEASUREMENT, TRAINING, OUTPUT)
RECIPES = "the recipe's"

Json = Annotated[bool, typer.Option("--json", help="Print JSON alone on stdout.", rich_help_panel=OUTPUT)]
Lang = Annotated[
    Language, typer.Option("--lang", help="The language of the page.", rich_help_panel=OUTPUT, show_default=True)
]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress.", rich_help_panel=OUTPUT)]


@dataclass(frozen=True)
class Option:
    """One option: its panel, its help and its default as help shows it, and the configuration key that it sets."""

    kind: Any
    panel: str
    help: str
    default: str = ""
    key: str | None = None

    def typed(self, name: str, hidden: bool) -> Any:
        """The annotation that typer reads. A bracket would be markup without the backslash."""
        default = rf" \[default: {self.default}]" if self.default else ""
        option = typer.Option(
            f"--{name.replace('_', '-')}",
            help=self.help + default,
            show_default=False,
            rich_help_panel=self.panel,
            hidden=hidden,
        )
        return Annotated[self.kind | None, option]


OPTIONS: dict[str, Option] = {
    "model": Option(str, MODEL, "A recipe's name, a checkpoint folder, a GGUF file or a hub id.", "tiny"),
    "recipe": Option(str, MODEL, "The recipe that goes with a folder or id: name or .toml file."),
    "hub": Option(str, MODEL, "Where ids are looked up: huggingface or modelscope.", "huggingface", "hub"),
    "adapter": Option(str, MODEL, "A LoRA adapter that exists already: a folder, or a served name.", key="adapter"),
    "engine": Option(str, MODEL, "auto, transformers, vllm, openai or scripted.", "auto", "engine"),
    "engine_arg": Option(list[str], MODEL, "key=value for the engine; may be repeated."),
    "trust_remote_code": Option(
        bool, MODEL, "Run the Python code that the checkpoint brings along.", key="trust_remote_code"
    ),
    "dataset": Option(str, DATA, "A dataset's name, or a local file or folder.", RECIPES, "dataset"),
    "data": Option(str, DATA, "A local copy of a named dataset: file or folder.", key="data"),
    "question_column": Option(str, DATA, "The column of the questions.", "found by name", "question_column"),
    "answer_column": Option(str, DATA, "The column of the true answers.", "found by name", "answer_column"),
    "split": Option(str, DATA, "The split to evaluate.", "test", "split"),
    "limit": Option(int, DATA, "Evaluate at most so many problems, chosen by hash.", "all", "limit"),
    "format": Option(str, MEASUREMENT, f"Output format: {FORMAT_NAMES}.", RECIPES, "format"),
    "language": Option(str, MEASUREMENT, "Target language of the reasoning, or none.", "the format's", "language"),
    "system_prompt": Option(
        str, MEASUREMENT, "default (English), chinese, none or a text file.", "default", "system_prompt"
    ),
    "samples": Option(int, MEASUREMENT, "Replies per problem.", "1", "samples"),
    "baseline_samples": Option(
        int, MEASUREMENT, "Replies per problem of the base model.", "as --samples", "baseline_samples"
    ),
    "primary": Option(
        str, MEASUREMENT, "The one metric that gets a verdict: accuracy_flexible.", "the usual family", "primary"
    ),
    "stop_early": Option(
        bool, MEASUREMENT, "Stop once that metric's difference is clear: fewer replies.", key="stop_early"
    ),
    "also": Option(str, MEASUREMENT, "Tasks of lm-eval to run before and after: arc_easy,hellaswag."),
    "seed": Option(int, MEASUREMENT, "The seed of sampling and training.", "3407", "seed"),
    "trainer": Option(str, TRAINING, "auto, trl or unsloth.", "auto", "trainer"),
    "skip_sft": Option(bool, TRAINING, "Leave out the recipe's SFT stage."),
    "training_seeds": Option(
        int, TRAINING, "Train so many times, seeds s, s+1, …, and evaluate each adapter.", "once", "training_seeds"
    ),
    "set": Option(list[str], OUTPUT, "Any recipe key, as key=value; may be repeated: harness settings lists all."),
}
# Options that do not act on a command. It takes them, so that one configuration serves all stages of a run, but its
# help leaves them out.
COMPARING = {"baseline_samples", "primary", "stop_early", "trainer", "skip_sft", "also", "training_seeds"}
WITHOUT_EFFECT = {
    "eval": COMPARING - {"baseline_samples"},
    "train": (COMPARING | {"samples", "adapter", "engine", "engine_arg"}) - {"trainer", "skip_sft"},
    "languages": COMPARING | {"limit"},
    "ask": COMPARING | {"dataset", "data", "question_column", "answer_column", "split", "limit", "samples"},
}


def print_help(context: typer.Context) -> None:
    """What a group of commands does alone: print its help."""
    if context.invoked_subcommand is None:
        context.get_help()


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

    hidden = WITHOUT_EFFECT.get(command.__name__, set())
    shared = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=option.typed(name, name in hidden)
        )
        for name, option in OPTIONS.items()
        if name not in taken
    ]
    own = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
    in_order = sorted(own + shared, key=lambda parameter: PANELS.index(_panel_of(parameter)))
    wrapper.__signature__ = inspect.Signature(in_order)
    wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in in_order}
    del wrapper.__wrapped__
    return wrapper


def _panel_of(parameter: inspect.Parameter) -> str | None:
    return parameter.annotation.__metadata__[0].rich_help_panel


def _configure(options: dict[str, Any]):
    from harness.config import NOTHING
    from harness.configure import configure, key_values, read_system_prompt
    from harness.engines import SERVER

    for name, value in options.items():
        if value == "":
            raise UserError(f"--{name.replace('_', '-')} is empty: give it a value or leave it out")
    keys = {option.key: options[name] for name, option in OPTIONS.items() if option.key}
    if keys["system_prompt"]:
        keys["system_prompt"] = read_system_prompt(keys["system_prompt"])
    if keys["data"]:
        keys["data"] = str(real_path(keys["data"]))
    if options["skip_sft"]:
        keys["sft_dataset"] = NOTHING
    if options["also"]:
        keys["also"] = tuple(name.strip() for name in options["also"].split(","))
    if options["engine_arg"]:
        keys["engine_args"] = key_values("--engine-arg", options["engine_arg"])
    config = configure(options["model"], options["recipe"], keys, options["set"] or [])
    if config.adapter and config.engine != SERVER:
        return config.model_copy(update={"adapter": str(real_path(config.adapter))})
    return config
