"""The commands rewards score, check and explain: reward functions on stored replies."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import marked_reply, show
from harness.cli.options import Json, print_help
from harness.errors import UserError
from harness.memory import fits_memory

if TYPE_CHECKING:
    from harness.rewards.corpora import Check

DRIFTED = 3

rewards = typer.Typer(help="Reward functions on replies: score, check, explain.", rich_markup_mode="rich")
rewards.callback(invoke_without_command=True)(print_help)

Preset = Annotated[str, typer.Option("--preset", help="A preset's name, or a .py file of your own functions.")]
Variant = Annotated[str, typer.Option("--variant", help="tutorial or robust.")]
Eos = Annotated[str | None, typer.Option("--eos", help="The token that may end a reply.", show_default=False)]
Prefix = Annotated[
    str | None,
    typer.Option(
        "--prefix", help="The start of the reply that the prompt already ended with (robust).", show_default=False
    ),
]
Language = Annotated[
    str | None, typer.Option("--language", help="Target language of the reasoning (robust).", show_default=False)
]
Plain = Annotated[bool, typer.Option("--plain", help="Give your functions texts, not messages.")]
CompletionColumn = Annotated[
    str | None, typer.Option("--completion-column", help="The column of the replies.", show_default=False)
]
AnswerColumn = Annotated[
    str | None, typer.Option("--answer-column", help="The column of the true answers.", show_default=False)
]
Strict = Annotated[bool, typer.Option("--strict", help="Stop at the first row that cannot be scored completely.")]


@rewards.command()
def score(
    input: Annotated[Path, typer.Option("--input", help="Rows {id, prompt, completion, answer}.")],
    output: Annotated[Path, typer.Option("--output", help="The same rows with scores and extracted (.jsonl).")],
    preset: Annotated[
        str | None,
        typer.Option("--preset", help="A preset, or a .py file of your own (default: that of --input's run)."),
    ] = None,
    variant: Annotated[
        str | None, typer.Option("--variant", help="tutorial or robust (default: robust, or that run's).")
    ] = None,
    eos: Eos = None,
    prefix: Prefix = None,
    language: Language = None,
    plain: Plain = False,
    completion_column: CompletionColumn = None,
    answer_column: AnswerColumn = None,
    strict: Strict = False,
    json: Json = False,
) -> None:
    """Score every reply with every reward function of a preset, one line per reply."""
    from harness.console import progress
    from harness.data.samples import read_samples
    from harness.rewards import PRESETS, corpora
    from harness.storage.files import write_lines

    show.refuse_output(output)
    preset, variant, options = _settings(input, preset, variant, prefix, language)
    scorer = corpora.open_rewards(preset, variant, eos, plain=plain, **options)
    samples = read_samples(input, completion_column, answer_column)
    # What `rewards check` compares the row with later; a row may not name a file, which would be run.
    named = {"preset": preset, "variant": variant} | ({"eos": eos} if eos else {}) if preset in PRESETS else {}
    rows, faults = [], []
    with progress.bar("rewards", len(samples)) as bar:
        for sample in samples:
            rewards_of_row = corpora.open_rewards_for(sample, preset, variant, eos, plain=plain, **options)
            made = corpora.score(rewards_of_row, sample)
            if sample.fault or made.reasons:
                faults.append(f"{sample.name}: {sample.fault or next(iter(made.reasons.values()))}")
                show.stop_at_fault(faults, strict)
            scored = {"extracted": made.extracted, "scores": made.scores, "reasons": made.reasons}
            rows.append(sample.with_scores(named | scored))
            bar.advance()
    show.faults(faults)
    write_lines(output, rows)
    show.means([row["scores"] for row in rows], scorer.names, output, json, named.get("variant"))


def _settings(
    input: Path, preset: str | None, variant: str | None, prefix: str | None, language: str | None
) -> tuple[str, str, dict]:
    """Preset, variant and their options: as given, else those of the run that the input belongs to."""
    from harness.data.samples import settings_beside
    from harness.parsing.named_formats import FORMATS
    from harness.rewards import PRESETS
    from harness.rewards.corpora import ROBUST

    config, equality = settings_beside(input)
    if preset is None and (config is None or config.has_own_rewards):
        raise UserError(f"{input}: does not say which rewards: add --preset {' or '.join(PRESETS)}, or your .py file")
    options = {"prefix": prefix, "language": language}
    if preset is None:
        preset, variant = config.rewards, variant or config.variant
        if variant == ROBUST:
            options |= {"language": language or config.target_language, "equality": equality}
            options |= {"format": FORMATS[config.format]}
    return preset, variant or ROBUST, options


@rewards.command()
def check(
    preset: Annotated[str | None, typer.Option("--preset", help="Only this preset, or your own .py file.")] = None,
    corpus: Annotated[Path | None, typer.Option("--corpus", help="Scored rows (default: the stored corpora).")] = None,
    variant: Annotated[str | None, typer.Option("--variant", help="Only this variant (default: the row's).")] = None,
    eos: Eos = None,
    prefix: Prefix = None,
    language: Language = None,
    plain: Plain = False,
    strict: Strict = False,
    update: Annotated[bool, typer.Option("--update", help="Show the differences, then store the new scores.")] = False,
    json: Json = False,
) -> int:
    """Compare the rewards with rows whose scores are known."""
    from harness.rewards import corpora

    if corpus is None and preset and preset.endswith(".py"):
        raise UserError(f"--preset {preset} has no corpus of ours: name yours with --corpus")
    if preset:
        corpora.open_rewards(preset, variant or corpora.ROBUST, eos, plain=plain)
    rewards_of = corpora.rewards_of_rows(preset, variant, eos, prefix=prefix, language=language, plain=plain)
    checks = [corpora.check(path, rewards_of) for path in ([corpus] if corpus else corpora.stored_corpora())]
    faults = [fault for each in checks for fault in each.faults]
    show.stop_at_fault(faults, strict)
    show.faults(faults)
    if not any(each.rows for each in checks):
        raise UserError(f"{corpus or 'the stored corpora'}: no row there that --preset and --variant ask for")
    for each in () if json else checks:
        _print_check(each, str(corpus or f"{each.path.parent.name}/{each.path.name}"))
    drifts = [drift for each in checks for drift in each.drifts]
    changed = len({drift.sample.name for drift in drifts}) if update else 0
    for each in checks if update else ():
        if each.drifts:
            corpora.update(each)
    rows = sum(len(each.rows) for each in checks)
    text = f"{rows} rows, {len(drifts)} drifted scores" + (f"; {changed} rows rewritten" if update else "")
    changes = [
        {"id": each.row, "function": each.function, "expected": each.expected, "got": each.got} for each in drifts
    ]
    show.line(text, json, {"rows": rows, "drifts": changes, "rewritten": changed})
    return DRIFTED if drifts and not update else 0


@rewards.command()
def explain(
    preset: Preset,
    completion: Annotated[
        Path | None, typer.Argument(help="A text file with one completion (default: stdin).", show_default=False)
    ] = None,
    answer: Annotated[str | None, typer.Option("--answer", help="The true answer.", show_default=False)] = None,
    prompt: Annotated[str, typer.Option("--prompt", help="The question (for functions of your own).")] = "",
    variant: Variant = "robust",
    eos: Eos = None,
    prefix: Prefix = None,
    language: Language = None,
    plain: Plain = False,
) -> None:
    """Score one completion and show which part of it earned what, and why."""
    from harness.rewards import corpora

    scorer = corpora.open_rewards(preset, variant, eos, prefix, language, plain)
    if completion is None and sys.stdin.isatty():
        show.note("waiting for a reply on stdin: type or paste it, then Ctrl-D (or name a file with one)")
    text = _read(completion)
    if scorer.format:
        marked_reply.parts(scorer.opening + text, scorer.format, eos)
    made = scorer.score(text, answer, {"prompt": prompt})
    if scorer.format:
        print(f"extracted by the {variant} variant: {marked_reply.quoted(made.extracted)}")
    print(f"true answer: {marked_reply.quoted(answer)}\n")
    of = f" ({variant})" if scorer.format else ""
    for name, value in made.scores.items():
        shown = "  null" if value is None else f"{value:+6.3f}"
        print(show.printable(f"{shown}  {name}{of}: {made.whys.get(name) or made.reasons[name]}"))
    print(f"{sum(value or 0 for value in made.scores.values()):+6.3f}  in all{of}")


def _read(path: Path | None) -> str:
    try:
        with fits_memory(path or Path("/dev/stdin")):
            content = sys.stdin.buffer.read() if path is None else path.read_bytes()
            return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path or 'stdin'}: not UTF-8 text: save it as UTF-8") from error
    except OSError as error:
        raise UserError(f"{path or 'stdin'}: {error.strerror}: give a text file that can be read") from error


def _print_check(checked: "Check", name: str) -> None:
    for drift in checked.drifts:
        text = f"{drift.row}: {drift.function}: expected {drift.expected}, got {drift.got}: {drift.why}"
        print(show.printable(text))
        print(marked_reply.marked(drift.sample.completion or "", drift.format))
    left_out = f", {checked.left_out} of other presets" if checked.left_out else ""
    print(show.printable(f"{'same ' if not checked.drifts else 'DRIFT'} {name}: {len(checked.rows)} rows{left_out}"))
