"""One question to a model."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import show
from harness.cli.options import takes_configuration
from harness.console.markdown import log_line

if TYPE_CHECKING:
    from harness.config import Configuration


@takes_configuration
def ask(
    config: "Configuration",
    question: Annotated[str, typer.Argument(help="The question.", show_default=False)],
) -> int:
    """Ask one question; print the reply as it is generated, then its parsed parts."""
    from harness.cli.run_checks import check_run
    from harness.data.columns import whole_text
    from harness.evaluation.evaluate import open_engine
    from harness.evaluation.prompts import requests
    from harness.parsing import formats
    from harness.parsing.named_formats import FORMATS
    from harness.types import Dataset, Problem

    check_run(config, [])
    if show.runs_toy(config):
        show.note(f"asking the embedded model; {show.TOY}")
    engine = open_engine(config, config.adapter)
    dataset = Dataset("question", "all", (Problem("question", whole_text(question), None),), "number")
    request = requests(config, dataset, engine, adapted=bool(config.adapter))[0]
    engine.load([request], config.max_tokens)
    completion = engine.reply_to(request, config.sampling, _Parts())
    parsed = formats.parse(completion.reply, FORMATS[config.format])
    print(f"\n\nformat: {'as required' if parsed.strict else 'broken'}, {parsed.tag_share:.0%} of the tags once")
    print(f"reasoning: {show.printable(parsed.reasoning)}")
    print(f"answer: {show.printable(parsed.answer)}")
    print(f"{completion.n_tokens} tokens, ended by {completion.finish_reason}")
    return 0


class _Parts:
    """Prints the parts of a reply as they come, as lines that act nowhere."""

    def __init__(self) -> None:
        self.line = ""

    def __call__(self, text: str) -> None:
        printed = len(log_line(self.line))
        text = "".join(each for each in text if each.isprintable() or each == "\n")
        lines = (self.line + text).split("\n")
        self.line = lines[-1]
        sys.stdout.write("\n".join(map(log_line, lines))[printed:])
        sys.stdout.flush()
