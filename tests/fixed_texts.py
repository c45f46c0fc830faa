"""The fixed English texts of the page, as its templates, scripts and modules have them: a hole {} for each value."""

import ast
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

from jinja2 import nodes

from reports.page import TEMPLATES

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "reports" / "templates"
PAGES = sorted(FOLDER.glob("*.html"))
HOLE = "{}"
# The modules whose sentences are shown on a page.
MODULES = (
    *sorted((ROOT / "reports").glob("*.py")),
    *(ROOT / "harness/statistics" / f"{name}.py" for name in (
        "breakdown", "compare", "differences", "headline", "metric_rows", "pairs",
    )),
    *(ROOT / "harness" / f"{name}.py" for name in ("findings", "metric_definitions", "stages", "types")),
    ROOT / "train/health.py",
    ROOT / "harness/evaluation/training_seeds.py",
)  # fmt: skip


def of_templates() -> set[str]:
    """What a template gives to the filter t: constants, and blocks."""
    found = set()
    for file in (*FOLDER.glob("*.html"), *FOLDER.glob("*.md")):
        tree = TEMPLATES.parse(file.read_text(encoding="utf-8"))
        for block in tree.find_all(nodes.FilterBlock):
            if block.filter.name == "t":
                found.add(_skeleton(block.body))
        for used in tree.find_all(nodes.Filter):
            if used.name == "t" and used.node is not None:
                found |= _words(used.node)
    return found


def _skeleton(body: list[nodes.Node]) -> str:
    """A block's text; raises where it has more than text and values in it."""
    parts = []
    for output in body:
        assert isinstance(output, nodes.Output), f"line {output.lineno}: a text with a condition in it"
        parts += [node.data if isinstance(node, nodes.TemplateData) else HOLE for node in output.nodes]
    return " ".join("".join(parts).split())


def _words(node: nodes.Node) -> set[str]:
    """The texts that an expression may be."""
    if isinstance(node, nodes.Const):
        return {node.value}
    if isinstance(node, nodes.CondExpr):
        return _words(node.expr1) | _words(node.expr2)
    if isinstance(node, nodes.Or):
        return _words(node.right)
    if isinstance(node, nodes.Concat):
        return {"".join(part.value if isinstance(part, nodes.Const) else HOLE for part in node.nodes)}
    if isinstance(node, nodes.Call) and isinstance(node.node, nodes.Getattr):
        return set().union(*(_words(pair.value) for pair in node.node.node.items), *map(_words, node.args[1:]))
    return set()


def of_scripts() -> set[str]:
    """What a script tags with t."""
    scripts = (file.read_text(encoding="utf-8") for file in FOLDER.glob("*.js"))
    return {text for script in scripts for text in _tagged(script)}


def _tagged(script: str) -> Iterator[str]:
    for start in re.finditer(r"(?<![\w.])t`", script):
        parts, at = [], start.end()
        while script[at] != "`":
            if script.startswith("${", at):
                parts.append(HOLE)
                at = _end_of_value(script, at + 2)
            else:
                parts.append(script[at])
                at += 1
        yield "".join(parts)


def _end_of_value(script: str, at: int) -> int:
    depth = 1
    while depth:
        depth += {"{": 1, "}": -1}.get(script[at], 0)
        at += 1
    return at


def of_modules() -> dict[str, set[str]]:
    """The strings and f-strings of each module, docstrings and errors aside."""
    return {str(file.relative_to(ROOT)): set(_strings(ast.parse(file.read_text(encoding="utf-8")))) for file in MODULES}


def _strings(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Raise | ast.Assert):
        return
    if isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else HOLE for part in node.values]
        yield re.sub(r"(\{\}){2,}", HOLE, "".join(parts))
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    for child in ast.iter_child_nodes(node):
        is_text = isinstance(node, ast.JoinedStr) and isinstance(child, ast.Constant)
        is_docstring = isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)
        if not is_text and not is_docstring:
            yield from _strings(child)


class _Outside(HTMLParser):
    """The words of a template that stand outside of its expressions."""

    def __init__(self):
        super().__init__()
        self.found: list[str] = []
        self.inside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside = [tag]
        shown = ("aria-label", "placeholder", "title", "alt")
        self.found += [value for name, value in attrs if name in shown and value and value.strip()]

    def handle_data(self, data: str) -> None:
        if re.search(r"[A-Za-z]{2}", data) and self.inside not in (["style"], ["script"]) and data != "lm-eval":
            self.found.append(data.strip())


def outside_of_blocks(file: Path) -> list[str]:
    """What a page's template shows without giving it to t."""
    text = re.sub(r"\{% filter t %\}.*?\{% endfilter %\}", "", file.read_text(encoding="utf-8"), flags=re.DOTALL)
    parser = _Outside()
    parser.feed(re.sub(r"\{\{.*?\}\}|\{%.*?%\}", "", text, flags=re.DOTALL))
    return parser.found
