"""Fuzzed: dataset files, replies, logs and recipes end in success, or in exit code 2 with one line."""

import io
import zipfile
from pathlib import Path

import pytest
from fuzzing import (
    CASES,
    NIGHTLY,
    TOO_DEEP,
    as_json,
    cases,
    changed,
    ends_in_order,
    mutated,
    texts,
    typed,
    values,
)
from hypothesis import example, given
from hypothesis import strategies as st

from harness.cli.run_checks import check_names
from harness.config import check
from harness.configure import RECIPES, configure, recipe_names
from harness.data import datasets, tables
from harness.parsing.named_formats import FORMATS

ROWS = [{"question": f"How many is {n} and {n}?", "answer": f"{n} + {n}\n#### {2 * n}"} for n in range(12)]
SCORED = {"id": "1", "prompt": "?", "completion": "<think>a</think>72", "answer": "72", "preset": "deepseek-r1",
          "variant": "tutorial", "eos": "", "scores": {"check_answer": 5.0}, "reasons": {},
          "extracted": "72"}  # fmt: skip
SAMPLES = {
    "ours": [SCORED],
    "lm-eval": [{"doc_id": 3, "doc": {"question": "?"}, "target": "so\n#### 72", "resps": [["72"]], "filter": "none",
                 "filtered_resps": ["72"], "arguments": {"gen_args_0": {"arg_0": "?", "arg_1": {}}}}],
    "trl": [{"step": 5, "prompt": "?", "completion": [{"role": "assistant", "content": "72"}], "advantage": 0.7}],
    "scripted": [{"text": "72", "question": "?", "adapter": False, "finish_reason": "length"}],
}  # fmt: skip
LOGGED = {"id": 1, "epoch": 1, "input": [{"role": "user", "content": "?"}], "target": ["72"], "metadata": {"k": 1},
          "output": {"choices": [{"message": {"content": [{"type": "reasoning", "reasoning": "r"},
                                                          {"type": "text", "text": "72"}]},
                                  "stop_reason": "stop"}]}}  # fmt: skip
LOG = {"version": 2, "status": "success", "eval": {}, "samples": [LOGGED, LOGGED | {"epoch": 2}]}
WRITTEN_LOG = (Path(__file__).parents[1] / "unit/inspect_ai.eval").read_bytes()
keys = st.one_of(st.sampled_from(("question", "answer", "solution", "problem", "completion", "text", "data")), texts)


def content_of(suffix: str, rows: list) -> bytes:
    """Rows as a file of that kind; CSV and parquet hold those that they can."""
    if suffix == ".json":
        return as_json(rows)
    if suffix == ".csv":
        head = list(dict.fromkeys(key for row in rows for key in row))
        lines = [head, *([row.get(key, "") for key in head] for row in rows)]
        text = "".join(",".join('"' + str(cell).replace('"', '""') + '"' for cell in line) + "\r\n" for line in lines)
        return text.encode("utf-8", "surrogatepass")
    if suffix == ".parquet":
        return parquet_of(rows)
    return b"".join(as_json(row, ascii_only=bool(place % 2)) + b"\n" for place, row in enumerate(rows))


def parquet_of(rows: list) -> bytes:
    import pyarrow
    from pyarrow import parquet

    sink = pyarrow.BufferOutputStream()
    try:
        parquet.write_table(pyarrow.Table.from_pylist(rows), sink)
    except (pyarrow.ArrowException, TypeError, ValueError, OverflowError):
        return as_json(rows)
    return sink.getvalue().to_pybytes()


def zipped(sample: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("samples/1_epoch_1.json", sample)
    return content.getvalue()


SUFFIXES = st.sampled_from(tables.SUFFIXES)
VALID = {suffix: content_of(suffix, ROWS) for suffix in tables.SUFFIXES}


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def written(file: Path, content: bytes) -> Path:
    file.write_bytes(content)
    return file


def read_dataset(file: Path, question: str | None, split: str | None, trains: bool) -> None:
    """As a run reads its --dataset."""
    values = {"dataset": str(file), "question_column": question, "split": split, "sft_dataset": str(file)}
    config = datasets.settle_split(check({"name": "fuzz", "checkpoint": "embedded"} | values), trains)
    dataset = datasets.evaluation_problems(config)
    if trains:
        datasets.training_problems(config)
        datasets.lessons(config)
    for problem in dataset.problems:
        assert problem.question.strip().encode()
        assert problem.answer is None or problem.answer.encode()


@cases("data: bytes")
@given(SUFFIXES.flatmap(lambda suffix: st.tuples(st.just(suffix), mutated(VALID[suffix]))), st.booleans())
def test_bytes_of_a_dataset(folder, drawn, trains):
    suffix, content = drawn
    file = written(folder / f"bytes{suffix}", content)
    ends_in_order(lambda: read_dataset(file, None, None, trains))


@cases("data: rows")
@given(
    SUFFIXES,
    st.one_of(changed(ROWS), st.lists(st.dictionaries(keys, values, max_size=4), max_size=4)),
    st.sampled_from((None, "question", "text", "no such")),
    st.sampled_from((None, "all", "test", "train", "cot")),
    st.booleans(),
)
@example(".json", [{"\x1b[31m": 1}], None, None, False)
def test_rows_of_a_dataset(folder, suffix, rows, question, split, trains):
    whole = isinstance(rows, list) and all(isinstance(row, dict) for row in rows)
    file = written(folder / f"rows{suffix}", content_of(suffix if whole else ".json", rows))
    ends_in_order(lambda: read_dataset(file, question, split, trains))


@cases("data: samples")
@given(
    st.sampled_from(sorted(SAMPLES)).flatmap(
        lambda kind: st.one_of(changed(SAMPLES[kind]).map(as_json), mutated(as_json(SAMPLES[kind])))
    ),
    st.sampled_from(("grade", "score", "check", "compare", "replies")),
    st.sampled_from(sorted(FORMATS)),
)
@example(b"[{}]", "grade", "think")
def test_replies_made_elsewhere(folder, content, command, format):
    file, out = written(folder / "samples.json", content), folder / "out.jsonl"
    if command == "grade":
        typed("grade", "--dataset", "gsm8k", "--format", format, "--input", file, "--output", out)
    elif command == "score":
        typed("rewards", "score", "--preset", FORMATS[format].rewards, "--input", file, "--output", out)
    elif command == "check":
        typed("rewards", "check", "--corpus", file, codes=(3,))
    elif command == "compare":
        lines = written(folder / "samples.jsonl", content.replace(b"\n", b" ")[1:-1])
        typed("compare", lines, lines, "--dataset", "gsm8k", "--format", format, "--output", folder / "page")
    else:
        from harness.engines import Setup
        from harness.engines.scripted import ScriptedEngine

        ends_in_order(lambda: ScriptedEngine(Setup("", "any", {"replies": str(file)}, 0)) and None)


@cases("data: logs")
@given(
    st.one_of(
        st.tuples(st.just(".eval"), mutated(WRITTEN_LOG)),
        st.tuples(st.just(".eval"), mutated(as_json(LOGGED)).map(zipped)),
        st.tuples(st.just(".eval"), changed(LOGGED).map(as_json).map(zipped)),
        st.tuples(st.just(".json"), changed(LOG).map(as_json)),
    ),
    st.booleans(),
)
def test_logs_of_inspect_ai(folder, drawn, compares):
    suffix, content = drawn
    file = written(folder / f"log{suffix}", content)
    if compares:
        again = written(folder / f"again{suffix}", content)
        typed("compare", file, again, "--dataset", "gsm8k", "--format", "think", "--output", folder / "page")
    else:
        typed("grade", "--dataset", "gsm8k", "--format", "think", "--input", file, "--output", folder / "out.jsonl")


@cases("data: evaluated")
@given(
    st.one_of(changed(ROWS), st.lists(st.dictionaries(keys, values, max_size=4), min_size=1, max_size=4)),
    st.lists(texts, min_size=1, max_size=3),
    st.sampled_from(sorted(FORMATS)),
)
def test_a_whole_evaluation(folder, rows, replies, format):
    file = written(folder / "whole.json", as_json(rows))
    canned = written(folder / "replies.json", as_json([{"text": text} for text in replies]))
    typed(
        "eval", "--engine", "scripted", "--engine-arg", f"replies={canned}", "--dataset", file, "--format", format,
        "--limit", "3", "--quiet", "--fresh", "--output", folder / "run",
    )  # fmt: skip


def test_the_cases_are_as_many_as_promised():
    per_kind = {name.partition(":")[0] for name in CASES}
    assert per_kind == {"data", "recipes", "rewards", "runs", "adapters", "records"}
    assert sum(CASES.values()) >= 5_000
    assert sum(CASES.values()) * NIGHTLY >= 100_000
    sources = "".join(file.read_text(encoding="utf-8") for file in Path(__file__).parent.glob("test_fuzzed_*.py"))
    assert all(sources.count(f'@cases("{name}")') == 1 for name in CASES)


REAL = {name: (RECIPES / f"{name}.toml").read_bytes() for name in recipe_names()}
recipe_keys = st.sampled_from(sorted(check({"name": "a", "checkpoint": "b"}).model_dump()))


def toml_of(value: object) -> str:
    """A value as TOML writes it; None is left to the parser to refuse."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml_of(key)} = {toml_of(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml_of, value)) + "]"
    return as_json(value).decode() if isinstance(value, str) else str(value)[:4000]


def read_recipe(*arguments) -> None:
    """As a run reads its recipe, up to the record that it keeps of it."""
    config = datasets.settle_split(configure(*arguments), trains=False)
    assert check(config.model_dump(mode="json")) == config
    assert config.sha
    assert config.folder_name
    check_names(config)


@cases("recipes: text")
@given(st.sampled_from(sorted(REAL)).flatmap(lambda name: mutated(REAL[name])))
@example(b"seed = " + b"9" * 5000)
@example(b"also = " + b"[" * TOO_DEEP)
@example(b'checkpoint = "embedded"\nformat = ""')
def test_text_of_a_recipe(folder, content):
    file = written(folder / "fuzz.toml", content)
    ends_in_order(lambda: read_recipe(None, str(file), {}, []))


@cases("recipes: keys")
@given(st.dictionaries(recipe_keys, values, max_size=3), st.sampled_from((None, "tiny", "gemma3-4b", ".")))
@example({"format": ["xml"]}, None)
@example({"rewards": "a\x00.py"}, "tiny")
@example({"chat_template": "a\x00.jinja"}, "tiny")
def test_keys_of_a_recipe(folder, given_keys, model):
    lines = "".join(f"{key} = {toml_of(value)}\n" for key, value in given_keys.items())
    file = written(folder / "keys.toml", (lines + 'checkpoint = "embedded"\n').encode())
    ends_in_order(lambda: read_recipe(model, str(file), {}, []))


@cases("recipes: settings")
@given(st.lists(st.tuples(st.one_of(recipe_keys, texts), st.one_of(texts, values.map(toml_of))), max_size=3))
@example([("format", "[false]")])
@example([("data", '"a\\u0000b"')])
@example([("also_tasks", "\ud800")])
@example([("also", "[" * TOO_DEEP)])
def test_settings_of_a_command(drawn):
    ends_in_order(lambda: read_recipe(None, None, {}, [f"{key}={value}" for key, value in drawn]))
