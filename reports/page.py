"""Write a run's report: one self-contained HTML page, a Markdown summary and the plots as files."""

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from harness.store import Run, write_bytes, write_text
from reports import plots, view
from reports.plots import Plot
from reports.view import View

TEMPLATES = Environment(
    loader=PackageLoader("reports"),
    autoescape=lambda name: name is not None and name.endswith(".html"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def write_report(run: Run) -> None:
    """Draw report/ anew from what is stored."""
    seen = view.build(run)
    drawn = _draw(seen)
    folder = run.path / "report"
    for plot in drawn.values():
        write_bytes(folder / "plots" / f"{plot.name}.png", plot.png)
    svg = {name: Markup(plot.svg) for name, plot in drawn.items()}
    write_text(folder / "index.html", TEMPLATES.get_template("report.html").render(view=seen, plots=drawn, svg=svg))
    write_text(folder / "report.md", TEMPLATES.get_template("report.md").render(view=seen, plots=drawn))


def _draw(seen: View) -> dict[str, Plot]:
    drawn = [plots.metric_bars({name: side.metrics for name, side in seen.sides.items()})]
    if seen.languages:
        drawn.append(plots.language_bars(seen.languages, seen.samples))
    if seen.training:
        drawn.append(plots.training_curves(seen.training.log, seen.training.probes))
    return {plot.name: plot for plot in drawn}
