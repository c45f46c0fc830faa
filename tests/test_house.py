"""The import rules: one direction, no cycles, heavy libraries only in leaves or inside functions, instant start-up."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from house_picture import imports

ROOT = Path(__file__).parent.parent
PACKAGES = ("harness", "train", "reports", "baselines")
HEAVY = {"torch", "transformers", "vllm", "unsloth", "trl", "peft", "lm_eval", "matplotlib", "langid", "sympy",
         "antlr4", "latex2sympy2_extended", "datasets", "math_verify", "pandas", "openai"}  # fmt: skip
LEAVES = ("harness/engines/", "train/", "reports/plots.py", "reports/training_plots.py", "baselines/")
FILES = [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]
ROOMS = {
    "harness/types.py": (),
    "harness/errors.py": (),
    "harness/formulas.py": (),
    "harness/numbers.py": (),
    "harness/reading.py": ("numbers",),
    "harness/mathematics.py": ("numbers", "reading"),
    "harness/statements.py": ("formulas", "numbers", "reading"),
    "harness/answers.py": ("types", "mathematics", "numbers", "reading", "statements"),
    "harness/language.py": ("formulas",),
    "harness/formats.py": ("types", "answers", "language", "numbers", "statements"),
    "harness/rewards/": ("types", "answers", "formats", "language", "registry", "rewards"),
    "harness/files.py": ("types",),
    "harness/records.py": (),
    "harness/stages.py": ("config",),
    "harness/store.py": ("types", "config", "files", "lock", "records", "stages", "stored"),
    "reports/": ("types", "agreement", "store", "stages", "files", "stored", "records", "breakdown", "pairs",
                 "markdown", "headline", "gain"),
}  # fmt: skip


def name_of(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_heavy_libraries_stay_in_leaves(file):
    if not name_of(file).startswith(LEAVES):
        assert not {name.split(".")[0] for name in imports(file, top_only=True)} & HEAVY


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_rooms_import_only_what_they_may(file):
    name, used = name_of(file), {each for each in imports(file) if each.startswith(tuple(f"{p}." for p in PACKAGES))}
    if name.startswith("harness/") and not name.startswith("harness/cli/"):
        assert not {each for each in used if each.startswith(("train.", "reports."))}
    if name.startswith("train/"):
        assert not {each for each in used if each.startswith("reports.")}
    for room, allowed in ROOMS.items():
        if name.startswith(room):
            ours = {each.split(".")[1] for each in used if each.startswith("harness.")}
            assert ours <= {*allowed, "__version__", "errors"}


def test_no_cycles():
    modules = {name_of(file).removesuffix(".py").removesuffix("/__init__").replace("/", "."): file for file in FILES}

    def targets(file: Path) -> set[str]:
        named = [[module for module in modules if f"{each}.".startswith(f"{module}.")] for each in imports(file)]
        return {max(candidates, key=len) for candidates in named if candidates}

    seen, path = set(), []

    def visit(module: str) -> None:
        assert module not in path, " -> ".join([*path, module])
        if module not in seen:
            path.append(module)
            for target in targets(modules[module]) - {module}:
                visit(target)
            path.pop()
            seen.add(module)

    for module in modules:
        visit(module)


@pytest.mark.parametrize("statement", ["import harness", "from harness.cli.app import app"])
def test_start_up_loads_nothing_heavy(statement):
    code = f"import sys; {statement}; print(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not set(loaded) & (HEAVY | {"numpy", "scipy", "pydantic", "jinja2"})


PICKLES = re.compile(
    r"torch\.load\(|\bimport (?:pickle|joblib|dill|shelve|marshal)\b|allow_pickle|read_pickle|weights_only=False|"
    r"use_safetensors=False|trust_remote_code=True|extractall|unpack_archive|(?<![\w.])(?<!def )(?:eval|exec)\("
)


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_nothing_runs_what_a_file_brings_along(file):
    """Pickles and a checkpoint's own code can do anything; archives can write anywhere."""
    assert not PICKLES.findall(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_checkpoints_are_loaded_in_one_place(file):
    """So that one line decides about safetensors and about a checkpoint's own code. Unsloth's loader has its own, and
    what gguf.py reads is neither."""
    loads = [*re.finditer(r"(\w+)\.from_pretrained\(", file.read_text(encoding="utf-8"))]
    place = name_of(file)
    if place.startswith(("harness/", "train/")) and place not in ("harness/checkpoints.py", "harness/gguf.py"):
        assert {load[1] for load in loads} <= {"PeftModel", "loader"}


def test_nothing_is_left_unfinished():
    for file in FILES:
        text = file.read_text(encoding="utf-8")
        assert not any(word in text for word in ("NotImplementedError", "TODO", "FIXME", "print(f'DEBUG")), file
