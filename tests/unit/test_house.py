"""The import rules: one direction, no cycles, heavy libraries only in leaves or inside functions, instant start-up."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from house_picture import imports

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("harness", "train", "reports", "baselines")
HEAVY = {"torch", "transformers", "vllm", "unsloth", "trl", "peft", "lm_eval", "matplotlib", "langid", "sympy",
         "antlr4", "latex2sympy2_extended", "datasets", "math_verify", "pandas", "openai"}  # fmt: skip
LEAVES = ("harness/engines/", "harness/trl.py", "train/", "reports/plots.py", "reports/training_plots.py", "baselines/")
FILES = [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]
# What each folder, or file at the top of harness/, may import of the others; errors.py and memory.py everybody may.
FOLDERS = {
    "types": (),
    "findings": ("types",),
    "metric_definitions": (),
    "stages": ("config",),
    "errors": (),
    "bounds": (),
    "memory": (),
    "processes": (),
    "registry": (),
    "names_elsewhere": (),
    "parsing": ("types", "registry"),
    "console": (),
    "config": ("types", "registry", "names_elsewhere", "parsing"),
    "configure": ("registry", "config", "parsing", "storage"),
    "storage": ("types", "findings", "stages", "config", "version", "metric_definitions"),
    "models": ("types", "bounds", "processes", "config", "registry", "console", "parsing", "storage"),
    "data": ("types", "findings", "stages", "config", "registry", "parsing", "storage", "models"),
    "rewards": ("types", "registry", "parsing", "storage", "data"),
    "engines": ("types", "findings", "config", "registry", "processes", "storage", "models", "data"),
    "statistics": ("types", "findings", "metric_definitions", "registry", "parsing"),
    "evaluation": ("types", "findings", "metric_definitions", "stages", "config", "registry", "processes", "console",
                   "parsing", "storage", "models", "data", "rewards", "engines", "statistics"),
    "lmeval": ("types", "metric_definitions", "stages", "config", "registry", "console", "parsing", "storage",
               "models", "data", "engines", "statistics", "evaluation"),
    "plan": ("types", "stages", "config", "registry", "storage", "models", "data", "engines", "statistics"),
    "in_memory": ("stages", "config", "configure", "registry", "names_elsewhere", "storage", "data", "engines",
                  "evaluation", "notebook", "cli"),
    "trl": ("types", "stages", "config", "console", "storage", "data", "engines", "evaluation", "notebook", "in_memory",
            "cli"),
    "notebook": ("types", "findings", "metric_definitions", "console", "storage", "statistics"),
    "testing": ("data", "rewards"),
    "examples": ("testing",),
    "__init__": ("version",),
    "version": (),
    "__main__": ("cli",),
    "train": ("types", "findings", "metric_definitions", "stages", "config", "registry", "console", "parsing",
              "storage", "models", "data", "rewards", "engines", "statistics", "evaluation", "version"),
    "reports": ("types", "findings", "metric_definitions", "stages", "console", "storage", "statistics"),
}  # fmt: skip


def name_of(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_heavy_libraries_stay_in_leaves(file):
    if not name_of(file).startswith(LEAVES):
        assert not {name.split(".")[0] for name in imports(file, top_only=True)} & HEAVY


def folder_of(module: str) -> str:
    """harness.data.tables is data, harness.types is types, train.sft is train."""
    package, _, rest = module.partition(".")
    return rest.partition(".")[0] if package == "harness" else package


def test_every_folder_has_its_rule():
    here = {folder_of(name_of(file).removesuffix(".py").replace("/", ".")) for file in FILES}
    assert here == {*FOLDERS, "cli", "baselines"}


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_folders_import_only_what_they_may(file):
    folder = folder_of(name_of(file).removesuffix(".py").replace("/", "."))
    used = {folder_of(each) for each in imports(file) if each.startswith(tuple(f"{p}." for p in PACKAGES))}
    if folder in FOLDERS:
        assert used <= {folder, "errors", "memory", *FOLDERS[folder]}


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
def test_links_in_a_circle_are_followed_in_one_place(file):
    """Path.resolve raises a RuntimeError at one before Python 3.13; links.real_path does not."""
    if not name_of(file).startswith("baselines/"):
        assert ".resolve(" not in file.read_text(encoding="utf-8")


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_checkpoints_are_loaded_in_one_place(file):
    """So that one line decides about safetensors and about a checkpoint's own code. Unsloth's loader has its own, and
    what gguf.py reads is neither."""
    loads = [*re.finditer(r"(\w+)\.from_pretrained\(", file.read_text(encoding="utf-8"))]
    place = name_of(file)
    if place.startswith(("harness/", "train/")) and place not in (
        "harness/models/loading.py",
        "harness/models/gguf.py",
    ):
        assert {load[1] for load in loads} <= {"PeftModel", "loader"}


def test_nothing_is_left_unfinished():
    for file in FILES:
        text = file.read_text(encoding="utf-8")
        assert not any(word in text for word in ("NotImplementedError", "TODO", "FIXME", "print(f'DEBUG")), file
