"""Fuzzed: run folders, baseline files and adapters end in success, or in exit code 2 with one line."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import configuration, write_jsonl
from fuzzing import as_json, cases, changed, ends_in_order, mutated, typed, values
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors.numpy import load, save

from harness.cli import show
from harness.cli.stage_functions import run_stage
from harness.config import EMBEDDED
from harness.evaluation import evaluate, sides
from harness.models import adapters, checkpoints
from harness.notebook import load_run
from harness.stages import BOTH, state_names
from harness.statistics.compare import compare
from harness.storage.files import write_json
from harness.storage.run_folder import Run
from reports.run_view import build

RIGHT = "<start_working_out>\nr\n<end_working_out>\n<SOLUTION>{}</SOLUTION>"
# What a training and the tasks of lm-eval leave in a run folder, in a few rows.
LOG = {"step": 1, "reward": 1.5, "rewards/check_answer/mean": 0.5, "rewards/accuracy_strict/mean": 0.5, "kl": 0.1,
       "completions/mean_length": 9.0, "completions/max_length": 12.0, "entropy": 0.3}  # fmt: skip
ROLLOUT = {"step": 1, "question": "?", "answer": "4", "text": "4", "accuracy": 1.0, "rewards": {"check_answer": 0.5}}
EFFECTIVE = {"trainer": "trl", "parameters": 9, "trainable_parameters": 1, "arguments": {"max_steps": 2},
             "replaced": {"optimizer": "by adamw_torch"}}  # fmt: skip
MEAN = {"mean": 0.5, "low": 0.25, "high": 0.75, "n": 4, "unscored": 0}
KIND = {"about": "", "share": True, "percent": True, "better": 1}
ALSO = {"tasks": {"arc": {"acc": MEAN}}, "measures": {"arc": {"acc": KIND}}}
DOCUMENT = {"task": "arc", "doc_id": 0, "filter": "none", "doc_hash": "a", "prompt_hash": "b", "target_hash": "c",
            "target": "A", "response": ["A"], "scores": {"acc": 1.0}}  # fmt: skip
CHANGE = {"before": 0.5, "after": 1.0, "delta": 0.5, "low": -0.1, "high": 0.9, "p_value": 0.2, "p_adjusted": 0.4,
          "test": "exact McNemar", "n_pairs": 2, "verdict": "no evidence either way", "detectable": 0.9, "needed": 20,
          "note": ""}  # fmt: skip


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory) -> dict[str, bytes]:
    """The files of a run folder with two sides, a training, tasks of lm-eval and a report's comparison."""
    folder = tmp_path_factory.mktemp("run")
    data = write_jsonl(folder / "data.jsonl", [{"question": f"{n} and {n}?", "answer": str(2 * n)} for n in range(6)])
    rows = [{"text": RIGHT.format(n), "adapter": adapted} for n in (0, 2, 4) for adapted in (False, True)]
    canned = write_jsonl(folder / "replies.jsonl", [*rows, {"text": "so 2", "adapter": True}])
    config = configuration("samples=2", engine="scripted", engine_args={"replies": str(canned)}, dataset=str(data))
    run = Run.create(folder / "run", config, "harness run")
    evaluate.evaluate(run, state_names(BOTH), "any", True, None)
    run.write_comparison(compare(*run.evaluations()))
    run.record.set_provenance(
        "train",
        {"health": ["entropy falls"], "prompts": 2, "max_prompt": 9, "too_long_prompts": 0, "max_completion": 9},
    )
    # With their hashes no changed file would be read at all.
    write_json(run.path / "run.json", run.record.read() | {"files": {}})
    files = {path.relative_to(run.path).as_posix(): path.read_bytes() for path in run.path.rglob("*.json*")}
    journals = {
        "log": [LOG, LOG | {"step": 2}],
        "rollouts": [ROLLOUT],
        "probes": [{"step": 1, "rewards/accuracy_strict/mean": 0.5}],
    }
    files |= {f"train/{name}.jsonl": b"".join(as_json(row) + b"\n" for row in rows) for name, rows in journals.items()}
    files["train/effective_config.json"] = as_json(EFFECTIVE)
    files["also/comparison.json"] = as_json(ALSO | {"tasks": {"arc": {"acc": CHANGE}}, "left_out": 1})
    for side in state_names(BOTH):
        files[f"also/{side}.json"] = as_json(ALSO)
        files[f"also/{side}.jsonl"] = as_json(DOCUMENT) + b"\n" + as_json(DOCUMENT | {"doc_id": 1}) + b"\n"
    return files


@st.composite
def faulty(draw: st.DrawFn, files: dict[str, bytes]) -> dict[str, bytes]:
    """The files with one or two of them changed, cut, gone or replaced."""
    files = dict(files)
    for _ in range(draw(st.integers(1, 2))):
        name = draw(st.sampled_from(sorted(files)))
        kind = draw(st.sampled_from(("changed", "changed", "changed", "mutated", "gone", "replaced")))
        if kind == "changed" and name.endswith(".json"):
            try:
                files[name] = as_json(draw(changed(json.loads(files[name]))))
            except (ValueError, RecursionError):
                kind = "mutated"
        elif kind == "changed":
            lines = files[name].splitlines()
            place = draw(st.integers(0, max(0, len(lines) - 1)))
            try:
                lines[place] = as_json(draw(changed(json.loads(lines[place]))))
            except (IndexError, ValueError, RecursionError):
                kind = "mutated"
            files[name] = b"".join(line + b"\n" for line in lines)
        if kind == "mutated":
            files[name] = draw(mutated(files[name]))
        elif kind == "gone":
            del files[name]
        elif kind == "replaced":
            files[name] = as_json(draw(values)) + b"\n"
    return files


def laid_out(folder: Path, files: dict[str, bytes]) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def read_everything(folder: Path) -> None:
    """As every room that reads a run folder does."""
    run = Run.open(folder)
    read = run.evaluations()
    assert run.config
    if len(read) > 1:
        show.results(run, True)
        run.write_comparison(compare(*read))
    notebook = load_run(folder)
    for frame in (notebook.replies, notebook.scores, notebook.metrics, notebook.differences):
        assert len(frame.columns)
    assert build(run, read).verdict


# File, what stands in its one JSON value or in its first line, and what is put in its place.
FOUND = [
    ("run.json", ["provenance"], []),
    ("run.json", ["stages", "before", "seconds"], None),
    ("run.json", ["provenance", "after", "versions"], "3.11"),
    ("run.json", ["provenance", "train", "health"], 7),
    ("run.json", ["configuration", "format"], ["xml"]),
    ("before/completions.jsonl", ["position"], None),
    ("before/completions.jsonl", ["question"], None),
    ("after/completions.jsonl", ["text"], None),
    ("after/completions.jsonl", ["problem_id"], []),
    ("before/completions.jsonl", [], 7),
    ("before/scores.jsonl", ["scores", "tokens"], "9"),
    ("before/scores.jsonl", ["scores", "reward/check_answer"], 10**400),
    ("before/metrics.json", ["tokens", "low"], "few"),
    ("after/metrics.json", ["format_strict", "high"], None),
    ("train/log.jsonl", ["step"], None),
    ("train/probes.jsonl", [], None),
    ("train/rollouts.jsonl", ["rewards"], None),
    ("train/effective_config.json", ["replaced"], []),
    ("also/before.json", [], None),
    ("also/comparison.json", ["measures"], {}),
]
# The same of the files that drawing a report reads before it.
FOUND_BY_REPORT = [("also/before.json", ["measures", "arc"], {}), ("also/after.jsonl", ["doc_id"], [])]


def replaced(value: Any, keys: list[str], new: Any) -> Any:
    return value | {keys[0]: replaced(value[keys[0]], keys[1:], new)} if keys else new


def with_first_value(content: bytes, name: str, keys: list[str], new: Any) -> bytes:
    first, *others = [content] if name.endswith(".json") else content.splitlines()
    return b"".join(line + b"\n" for line in (as_json(replaced(json.loads(first), keys, new)), *others))


@pytest.mark.parametrize(("name", "keys", "new"), FOUND)
def test_what_was_found_in_run_folders(whole_run, folder, name, keys, new):
    place = laid_out(folder / "found", whole_run | {name: with_first_value(whole_run[name], name, keys, new)})
    assert ends_in_order(lambda: read_everything(place)) == 2


@pytest.mark.parametrize(("name", "keys", "new"), FOUND_BY_REPORT)
def test_what_was_found_in_drawing_a_report(whole_run, folder, name, keys, new):
    place = laid_out(folder / "found", whole_run | {name: with_first_value(whole_run[name], name, keys, new)})
    assert ends_in_order(lambda: run_stage(Run.open(place), "report", True)) == 2


def test_a_newer_program_s_fields_are_left_out(whole_run, folder):
    """Of lm-eval's tasks, in the three files that hold their metrics."""
    newer = {}
    for name in ("also/before.json", "also/after.json", "also/comparison.json"):
        value = json.loads(whole_run[name])
        kinds, rows = value["measures"]["arc"], value["tasks"]["arc"]
        newer[name] = as_json(
            replaced(replaced(value, ["measures", "arc", "acc"], kinds["acc"] | {"new": 1}), ["tasks", "arc", "acc"],
                     rows["acc"] | {"new": 1})
        )  # fmt: skip
    place = laid_out(folder / "newer", whole_run | newer)
    assert ends_in_order(lambda: read_everything(place)) == 0
    assert ends_in_order(lambda: run_stage(Run.open(place), "report", True)) == 0


@cases("runs: sides")
@given(st.data())
def test_a_run_folder_read(whole_run, folder, data):
    laid_out(folder / "run", data.draw(faulty(whole_run)))
    ends_in_order(lambda: read_everything(folder / "run"))


@cases("runs: commands")
@given(st.data())
def test_commands_on_a_run_folder(whole_run, folder, data):
    good, bad = laid_out(folder / "good", whole_run), laid_out(folder / "bad", data.draw(faulty(whole_run)))
    command = data.draw(st.sampled_from(("gate", "gate", "baseline", "score", "compare")))
    if command == "gate":
        pair = data.draw(st.permutations((good / "before", bad / data.draw(st.sampled_from(("before", "after", "."))))))
        typed("gate", pair[0], "--baseline", pair[1], "--summary", folder / "summary.md", codes=(3,))
    elif command == "baseline":
        (folder / "written.json").unlink(missing_ok=True)
        if typed("gate", bad, "--write-baseline", folder / "written.json") == 0:
            assert sides.read_baseline(folder / "written.json")
    elif command == "score":
        typed("score", bad)
    else:
        shutil.rmtree(folder / "page", ignore_errors=True)
        typed("compare", good, bad, "--output", folder / "page")


@cases("runs: the page of all")
@given(st.data())
def test_a_page_of_all_runs_has_the_others_and_one_line(whole_run, folder, data):
    laid_out(folder / "runs" / "good", whole_run)
    laid_out(folder / "runs" / "bad", data.draw(faulty(whole_run)))
    assert typed("view", folder / "runs") == 0
    assert 'aria-label="compare good"' in (folder / "runs" / "index.html").read_text(encoding="utf-8")


@cases("runs: baselines")
@given(st.data())
def test_a_baseline_file(whole_run, folder, data):
    if not (folder / "baseline.json").exists():
        sides.save_baseline(sides.last_of(str(laid_out(folder / "good", whole_run))), folder / "baseline.json")
    content = (folder / "baseline.json").read_bytes()
    faults = st.one_of(mutated(content), changed(json.loads(content)).map(as_json))
    (folder / "faulty.json").write_bytes(data.draw(faults))
    typed("gate", folder / "good", "--baseline", folder / "faulty.json", codes=(3,))


@cases("runs: reports")
@given(st.data())
def test_a_report_drawn_again(whole_run, folder, data):
    laid_out(folder / "run", data.draw(faulty(whole_run)))
    ends_in_order(lambda: run_stage(Run.open(folder / "run"), "report", True))


SETTINGS = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "rank_pattern": {"q_proj": 4}, "modules_to_save": None,
            "target_modules": ["q_proj"], "task_type": "CAUSAL_LM"}  # fmt: skip


@pytest.fixture(scope="session")
def weights() -> bytes:
    """A small adapter of the embedded model."""
    shapes = adapters._base_shapes(EMBEDDED)
    layer = next(name for name in shapes if name.endswith("q_proj"))
    out, into = shapes[layer]
    key = f"base_model.model.model.{layer}.lora_"
    tensors = {f"{key}A.weight": np.ones((2, into), np.float16), f"{key}B.weight": np.zeros((out, 2), np.float16)}
    return save(tensors, metadata={"format": "pt"})


def read_adapter(folder: Path) -> None:
    """As a run does that is given one, up to the reason that it changes nothing."""
    adapters.check(str(folder), EMBEDDED)
    assert adapters.rank(str(folder)) > 0
    assert adapters.why_inert(str(folder), EMBEDDED)
    assert checkpoints.weight_hashes(str(folder))


@cases("adapters: settings")
@given(st.one_of(changed(SETTINGS).map(as_json), mutated(as_json(SETTINGS)), st.binary(max_size=40)))
@example(as_json(SETTINGS | {"r": ""}))
@example(as_json(SETTINGS | {"rank_pattern": {"q_proj": None}}))
@example(as_json(SETTINGS | {"modules_to_save": True}))
def test_settings_of_an_adapter(weights, folder, content):
    place = laid_out(folder / "adapter", {"adapter_config.json": content, adapters.WEIGHTS: weights})
    ends_in_order(lambda: read_adapter(place))


def test_weights_that_are_no_matrix(weights, folder):
    tensors = {name: tensor.reshape(-1) for name, tensor in load(weights).items()}
    place = laid_out(folder / "flat", {"adapter_config.json": as_json(SETTINGS), adapters.WEIGHTS: save(tensors)})
    assert ends_in_order(lambda: read_adapter(place)) == 2


@cases("adapters: weights")
@given(st.data())
def test_weights_of_an_adapter(weights, folder, data):
    size = int.from_bytes(weights[:8], "little")
    header, body = weights[8 : 8 + size], weights[8 + size :]
    said = data.draw(st.one_of(changed(json.loads(header)).map(as_json), mutated(header)))
    length = data.draw(st.one_of(st.just(len(said)), st.integers(0, 2**64 - 1)))
    whole = length.to_bytes(8, "little") + said + body
    content = data.draw(st.one_of(st.just(whole), mutated(weights), st.binary(max_size=40)))
    place = laid_out(folder / "adapter", {"adapter_config.json": as_json(SETTINGS), adapters.WEIGHTS: content})
    ends_in_order(lambda: read_adapter(place))
