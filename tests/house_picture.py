"""The picture of harness/README.md, which folder imports which, and its table of folders and modules.

    python tests/house_picture.py          # writes it into harness/README.md

An arrow goes from a module, or a folder of them, to one that it imports; one that follows from two others is left out.
"""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "harness" / "README.md"
PACKAGES = ("harness", "train", "reports")
SHOWN = (
    "harness.cli", "train", "reports", "harness.plan", "harness.lmeval", "harness.evaluation", "harness.statistics",
    "harness.engines", "harness.rewards", "harness.data", "harness.models", "harness.storage", "harness.config",
    "harness.parsing", "harness.types",
)  # fmt: skip
START, END = "```mermaid\n", "```\n"
HEAD = "| in harness/ | what it does | modules |\n|---|---|---|\n"


def modules() -> dict[str, Path]:
    """Every module by its dotted name."""
    files = [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]
    places = [file.relative_to(ROOT).with_suffix("").as_posix().removesuffix("/__init__") for file in files]
    return dict(zip([place.replace("/", ".") for place in places], files, strict=True))


def imports(file: Path, top_only: bool = False) -> set[str]:
    """What a file imports, wherever in it or at its top only; not what is imported for type checkers alone.

    `import a.b` is a.b, `from a import b` is a.b too.
    """
    tree = ast.parse(file.read_text(encoding="utf-8"))
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found = set()
    for node in tree.body if top_only else ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def imported(file: Path, known: dict[str, Path]) -> set[str]:
    """Our modules that a file imports, whole or a name of theirs."""
    return {name if name in known else name.rpartition(".")[0] for name in imports(file)} & known.keys()


def node_of(module: str) -> str | None:
    """The node that a module belongs to; None where it is not shown."""
    return next((node for node in SHOWN if module == node or module.startswith(f"{node}.")), None)


def arrows() -> list[tuple[str, str]]:
    """The arrows between the nodes, without those that follow from others."""
    known = modules()
    direct: dict[str, set[str]] = {node: set() for node in SHOWN}
    for module, file in known.items():
        if node := node_of(module):
            direct[node] |= {node_of(each) for each in imported(file, known)} - {node, None}
    below = {node: _below(node, direct) for node in SHOWN}
    return [
        (node, other)
        for node in SHOWN
        for other in SHOWN
        if other in direct[node] and not any(other in below[between] for between in direct[node] - {other})
    ]


def _below(node: str, direct: dict[str, set[str]]) -> set[str]:
    found, waiting = set(), [node]
    while waiting:
        new = direct[waiting.pop()] - found
        found |= new
        waiting += new
    return found


def picture() -> str:
    """The Mermaid text, with its fences."""
    rows = [f"    {one.rpartition('.')[2]} --> {other.rpartition('.')[2]}" for one, other in arrows()]
    return START + "\n".join(["flowchart TD", *rows]) + "\n" + END


def table() -> str:
    """The folders and files of harness/, each with the first sentence of its docstring, a folder with its modules."""
    rows = []
    for place in sorted((ROOT / "harness").iterdir(), key=lambda each: (each.is_file(), each.name)):
        file = place / "__init__.py" if place.is_dir() else place
        if file.suffix != ".py" or not file.is_file() or place.name.startswith("__"):
            continue
        inside = sorted(each.stem for each in place.glob("*.py") if each != file) if place.is_dir() else []
        name = f"{place.name}/" if place.is_dir() else place.name
        sentence = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))).partition("\n")[0]
        rows.append(f"| [{name}]({name}) | {sentence} | {', '.join(inside)} |\n")
    return HEAD + "".join(rows)


def main() -> None:
    """Put picture and table where the page has the old ones."""
    text = PAGE.read_text(encoding="utf-8")
    head, _, rest = text.partition(START)
    text = head + picture() + rest.partition(END)[2]
    head, _, rest = text.partition(HEAD)
    PAGE.write_text(head + table() + rest[rest.index("\n\n") + 1 :], encoding="utf-8")


if __name__ == "__main__":
    main()
