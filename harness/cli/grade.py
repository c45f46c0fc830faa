"""The command grade: score replies that any other tool made."""

from pathlib import Path
from typing import Annotated

import typer

from harness.cli import show
from harness.cli.options import Json
from harness.cli.rewards import AnswerColumn, CompletionColumn, Strict
from harness.parsing.named_formats import FORMAT_NAMES


def grade(
    input: Annotated[Path, typer.Option("--input", help="Our rows, samples of lm-eval, inspect_ai or TRL.")],
    output: Annotated[Path, typer.Option("--output", help="The same rows with extracted, scores, reasons (.jsonl).")],
    dataset: Annotated[
        str | None,
        typer.Option("--dataset", help="A dataset's name: how answers compare (default: that of --input's run)."),
    ] = None,
    format: Annotated[
        str | None, typer.Option("--format", help=f"{FORMAT_NAMES} (default: that of --input's run).")
    ] = None,
    language: Annotated[
        str | None, typer.Option("--language", help="Target language of the reasoning, or none.", show_default=False)
    ] = None,
    eos: Annotated[
        str | None, typer.Option("--eos", help="Ends a reply, as known models' end tokens do.", show_default=False)
    ] = None,
    completion_column: CompletionColumn = None,
    answer_column: AnswerColumn = None,
    strict: Strict = False,
    json: Json = False,
) -> None:
    """Score replies made by any other tool, one line per reply."""
    from harness.console import progress
    from harness.data.columns import true_answer
    from harness.data.samples import Reading, read_samples
    from harness.evaluation.scoring import score_text, unscored_text
    from harness.storage.files import write_lines
    from harness.types import CUT_OFF

    show.refuse_output(output)
    reading = Reading.of(dataset, format, language, journal=input)
    samples = read_samples(input, completion_column, answer_column)
    faults = [f"{sample.name}: {sample.fault}" for sample in samples if sample.fault]
    show.stop_at_fault(faults, strict)
    show.faults(faults)
    rows = []
    with progress.bar("grade", len(samples)) as bar:
        for sample in samples:
            result = unscored_text(sample.fault, reading.language)
            if sample.completion is not None:
                truth = true_answer(sample.answer)
                result = score_text(
                    (sample.opening(reading.format) or "") + sample.completion,
                    truth,
                    reading.format,
                    reading.equality,
                    reading.language,
                    eos=eos,
                    finished=sample.finish_reason != CUT_OFF,
                )
            reasons = dict.fromkeys(result.reasons, sample.fault) if sample.fault else result.reasons
            rows.append(
                sample.with_scores({"extracted": result.extracted, "scores": result.scores, "reasons": reasons})
            )
            bar.advance()
    write_lines(output, rows)
    show.means([row["scores"] for row in rows], list(rows[0]["scores"]), output, json)
