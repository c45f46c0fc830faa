"""The command export: a trained adapter, or a run's replies, for other programs."""

import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness import registry
from harness.cli import show
from harness.cli.options import Json, Quiet
from harness.errors import UserError

if TYPE_CHECKING:
    from harness.config import Configuration
    from harness.storage.run_folder import Run
    from train.export import Export
    from train.export.measured import Measured

EXPORTS = Path("export")
DEFAULT_QUANT = "q8_0"
LOGS = "inspect"


def export(
    to: Annotated[str, typer.Option("--to", help="lora, merged-16bit, merged-4bit or gguf; inspect: replies as logs.")],
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="[RUN]", help="A run folder; with an adapter, unless --to inspect.", show_default=False),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="The base of --adapter: a recipe's name, a folder or a hub id.")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option("--recipe", help="A recipe's name or file, where --model is a folder or a hub id.")
    ] = None,
    hub: Annotated[
        str | None, typer.Option("--hub", help="Where --model's id is looked up: huggingface or modelscope.")
    ] = None,
    adapter: Annotated[str | None, typer.Option("--adapter", help="A LoRA adapter's folder.")] = None,
    quant: Annotated[
        str | None, typer.Option("--quant", help="GGUF types, by commas: q8_0 (default), f16, bf16, q4_k_m, q5_k_m.")
    ] = None,
    push: Annotated[
        str | None, typer.Option("--push", metavar="REPO", help="Upload it to the hub; a new repository is private.")
    ] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run the Python code that the base brings along.")
    ] = False,
    measure: Annotated[
        bool, typer.Option("--measure", help="Evaluate the files as RUN's model was; continues if they are there.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Upload without asking.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", help="Its folder (default: RUN/export/TO, or export/NAME-TO).")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Write a trained adapter as files that other programs load, with a model card; measure or upload them if asked to.

    With --measure an export that is there already is not written again, and a stopped measurement continues. --to
    inspect writes a log of inspect_ai for each side of a run: its questions, replies, scores and metrics.
    """
    from train.export import TARGETS

    if registry.choose("--to", to, (*TARGETS, LOGS)) == LOGS:
        if folder is None or any((model, recipe, hub, adapter, quant, push, trust_remote_code, measure, yes)):
            raise UserError("--to inspect writes the replies of a RUN: give one, and of the options --output alone")
        return _write_logs(folder, output, json)
    quants = _quants(quant, to)
    run, config, its_adapter = _source(folder, model, recipe, hub, adapter)

    from harness.config import file_name
    from train.export import Export, measured, write

    name = file_name(config.name)
    job = Export(
        name,
        config.checkpoint,
        its_adapter,
        to,
        quants,
        run,
        config.chat_template,
        trust_remote_code,
        config.chat_template_kwargs,
    )
    output = output or (run.path / "export" / to if run else EXPORTS / f"{name}-{to}")
    if measure:
        measured.check(job)
    record = write.finished(job, output) if measure else None
    if record is None:
        write.check(job, output)
    token = _permission(push, yes) if push is not None else None
    record = record or write.write(job, output, quiet)
    found = None
    if measure:
        if code := _measure(job, output, record, quiet):
            return code
        found = measured.load(job, output, record)
        record = write.describe(job, output, record, found)
    record |= {"output": str(output), "pushed": None}
    if push:
        from train.export import hub

        record["pushed"] = hub.push(output, push, token)
    by_hand = command_to_measure(job, config, recipe, output, record["files"]) if to == "gguf" and not measure else None
    if json:
        said = {"measured": _as_json(found)} if found else {"measure": by_hand} if by_hand else {}
        show.line("", True, record | said)
    else:
        _print(record, found, by_hand)
    return 0


def _print(record: dict[str, Any], found: "Measured | None", by_hand: str | None) -> None:
    """The files with their sizes, where they are, and how they compare with base + adapter or how to measure them."""
    from train.export import measured

    for file, size in record["files"].items():
        print(show.printable(f"{size:>14,}  {file}"))
    print(show.printable(f"export: {record['pushed'] or record['output']}"))
    if by_hand:
        print(show.printable(f"measure it: {by_hand}"))
    if found:
        print(show.printable(f"measured: {found.run}"))
        for sentence in measured.sentences(found):
            show.say(sentence)


def _measure(job: "Export", output: Path, record: dict[str, Any], quiet: bool) -> int:
    """Evaluate the exported files into a run folder in theirs, or finish that; 0, or the exit code of a failure."""
    from harness.cli.run import ended, open_run
    from harness.evaluation.pipeline import run_stages
    from harness.stages import BASE
    from train.export import measured

    config = measured.configuration(job, measured.model_of(output, record))
    measurement = open_run(config, output / measured.FOLDER, False, [BASE], quiet)
    # In a process of its own, as this one may still have the merged weights.
    code = run_stages(measurement, [BASE], quiet, show.nothing if quiet else show.note)
    return ended(measurement, code) if code else 0


def _as_json(found: "Measured") -> dict[str, Any]:
    from dataclasses import asdict

    metrics = {name: asdict(each) for name, each in found.metrics.items()}
    return {"run": str(found.run), "metrics": metrics, "comparison": found.comparison.as_dict()}


def _write_logs(folder: Path, output: Path | None, json: bool) -> int:
    """A log of inspect_ai for each finished side of a run."""
    from harness.storage.links import make_folder
    from harness.storage.run_folder import Run
    from reports import inspect_log

    run = Run.open(folder)
    sides = run.chosen_evaluations(None)
    output = output or run.path / "export" / LOGS
    make_folder(output)
    files = [output / f"{side.name}.eval" for side in sides]
    for side, file in zip(sides, files, strict=True):
        inspect_log.write(run, side, file)
    names = ", ".join(file.name for file in files)
    command = shlex.join(["inspect", "view", "--log-dir", str(output)])
    show.line(f"{names} in {output}: open with {command}", json, {"output": str(output), "files": [*map(str, files)]})
    return 0


def command_to_measure(
    job: "Export", config: "Configuration", recipe: str | None, output: Path, files: Iterable[str]
) -> str:
    """The command that evaluates the first exported GGUF: as the run was, or an adapter of no run by its recipe."""
    from harness.config import MODELSCOPE
    from harness.configure import recipe_names

    if job.run:
        words = ["export", str(job.run.path), "--to", job.to, "--quant", ",".join(job.quants)]
        return shlex.join(["harness", *words, "--output", str(output), "--measure"])
    file = next(output / name for name in files if name.endswith(".gguf"))
    recipe = recipe or (config.name if config.name in recipe_names() else None)
    options = ["--recipe", recipe] if recipe else ["--dataset", config.dataset, "--format", config.format]
    options += ["--data", config.data] if config.data else []
    options += ["--hub", MODELSCOPE] if config.hub == MODELSCOPE else []
    return shlex.join(["harness", "eval", "--model", str(file), *options])


def _quants(text: str | None, to: str) -> tuple[str, ...]:
    from train.export.llama_cpp import QUANTS

    if text is not None and to != "gguf":
        raise UserError(f"--quant is GGUF's: give --to gguf, or leave it out with --to {to}")
    if to != "gguf":
        return ()
    names = (text if text is not None else DEFAULT_QUANT).split(",")
    return tuple(dict.fromkeys(registry.choose("--quant", name.strip().lower(), QUANTS) for name in names))


def _source(
    folder: Path | None, model: str | None, recipe: str | None, hub: str | None, adapter: str | None
) -> tuple["Run | None", "Configuration", str]:
    """The run, if one is given, the configuration that names the base, and the adapter's folder."""
    from harness.configure import configure
    from harness.storage.run_folder import Run

    if folder and (model or recipe or hub or adapter):
        raise UserError("a RUN has its model, recipe, hub and adapter: leave those options out, or the RUN")
    if folder:
        run = Run.open(folder)
        config = run.config
        if config.training_seeds:
            raise UserError(f"{folder}: has several adapters: name one of its trainings: {folder}/seed-{config.seed}")
        if not config.adapter and not run.record.is_done("train"):
            raise UserError(f"{folder}: no trained adapter: harness run --before-after --output {folder} makes one")
        return run, config, run.adapter_of("after")
    if not model or not adapter:
        raise UserError("nothing to export: give a RUN, or --model and --adapter")
    return None, configure(model, recipe, {"hub": hub}, []), adapter


def _permission(push: str, yes: bool) -> str:
    """The token to upload with. Raises UserError if there is none, or the user does not agree."""
    from train.export import hub

    token = hub.token_for(push)
    if not yes and not sys.stdin.isatty():
        raise UserError(f"--push {push}: there is no terminal to confirm it on: add --yes")
    if not yes and not typer.confirm(f"Upload to {push} on the hub?", err=True):
        raise UserError("not uploaded, nothing written: leave --push out to export alone")
    return token
