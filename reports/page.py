"""Write reports: one self-contained HTML page, a Markdown summary and the plots as files."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context
from markupsafe import Markup

from harness.console.markdown import escaped, one_line, visible
from harness.metric_definitions import definition_of
from harness.storage.files import write_bytes, write_text
from harness.storage.run_folder import Run
from harness.types import Comparison, Evaluation
from reports import (
    comparison_view,
    explorer,
    history,
    index_view,
    plots,
    run_view,
    summary,
    texts,
    training_plots,
    training_view,
)
from reports.comparison_view import ComparisonView
from reports.index_view import IndexView
from reports.plots import Plot
from reports.run_view import View

TEMPLATES = Environment(
    loader=PackageLoader("reports"),
    autoescape=lambda name: name is not None and name.endswith((".html", ".css")),
    undefined=StrictUndefined,
    # Names and rollouts in a template are shown with their invisible and text-turning characters visible.
    finalize=lambda value: value if isinstance(value, Markup) or not isinstance(value, str) else visible(value),
    trim_blocks=True,
    lstrip_blocks=True,
)


def _script(text: str) -> dict[str, str]:
    """A page's one inline script, and the hash by which its content security policy allows it."""
    text = f'"use strict";\nconst TEXTS = {texts.for_script()};\n{text}'
    return {"script": Markup(text), "script_sha": base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}


@pass_context  # or jinja2 would keep the first language's texts in the compiled template
def _translated(_: Any, text: str) -> str:
    return texts.t(text)


TEMPLATES.globals |= {
    "html_language": texts.html_language,
    "definition_of": definition_of,
    "about": summary.about,
    "sample_replies": summary.sample_replies,
}
TEMPLATES.filters |= {"escaped": escaped, "one_line": one_line, "code": summary.code, "t": _translated}


def write_report(run: Run, sides: Sequence[Evaluation]) -> None:
    """Write a run's report/ from its scored sides."""
    view = run_view.build(run, sides)
    script = f"{explorer.SCRIPT}\n{training_view.SCRIPT}" if view.training else explorer.SCRIPT
    _write(run.path / "report", "report", view, _plots_of_run(view), script)


def write_comparison(
    folder: Path,
    sides: Sequence[Evaluation],
    ranked: Sequence[Evaluation],
    comparisons: Sequence[Comparison],
    command: str,
) -> None:
    """Write a page of any number of sides, each compared with the first, the baseline.

    `ranked` are the same sides over the problems that all of them have.
    """
    view = comparison_view.build(sides, ranked, comparisons, command)
    _write(folder, "comparison", view, _plots_of_comparison(view), explorer.SCRIPT)


def write_index(file: Path, view: IndexView) -> None:
    """Write a page of all runs below a folder."""
    template, size = TEMPLATES.get_template("runs.html"), (history.WIDTH, history.HEIGHT, history.MARGIN)
    write_text(file, template.render(view=view, size=size, height=history.height, **_script(index_view.SCRIPT)))


def _write(folder: Path, template: str, view: Any, figures: Sequence[Plot], script: str) -> None:
    by_name = {plot.name: plot for plot in figures}
    for plot in figures:
        write_bytes(folder / "plots" / f"{plot.name}.png", plot.png)
    for file, template_file in (("index.html", f"{template}.html"), ("report.md", f"{template}.md")):
        write_text(folder / file, rendered(template_file, view, by_name, script))


def rendered(template_file: str, view: Any, by_name: Mapping[str, Plot], script: str) -> str:
    """The text of a page, with its plots by their names and its one script."""
    svg = {name: Markup(plot.svg) for name, plot in by_name.items()}
    template = TEMPLATES.get_template(template_file)
    return template.render(view=view, plots=by_name, svg=svg, **_script(script))


def _plots_of_run(view: View) -> list[Plot]:
    made = [plots.metric_bars({side.name: side.metrics for side in view.sides})]
    if any(row.delta is not None for row in view.differences.values()):
        made.append(plots.differences(view.differences, view.first, view.last))
    if view.seeds and view.seeds.over:
        made.append(plots.seeds(view.seeds.over, view.seeds.adapters))
    if view.parts:
        made.append(plots.parts(view.parts, view.first, view.last if len(view.sides) > 1 else None))
    if view.languages:
        made.append(training_plots.language_bars(view.languages, view.samples))
    if view.training:
        made.append(training_plots.training_curves(view.training.panels, view.training.logged))
    return made


def _plots_of_comparison(view: ComparisonView) -> list[Plot]:
    return [plots.standings(view.sides, view.metric)]
