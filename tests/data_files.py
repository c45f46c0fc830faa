"""Small data files for tests, and how they are loaded."""

import pyarrow
from conftest import configuration, write_jsonl
from pyarrow import parquet

from harness.data import datasets

ROWS = [{"question": f"What is {n} + 1?", "answer": str(n + 1)} for n in range(40)]


def load(split="test", trains=False, **options):
    return datasets.load(configuration(trains=trains, **options), split)


def place(folder, *names):
    """A folder with files of these names, the n-th of ten rows that begin with question n * 10."""
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        rows = ROWS[10 * number : 10 * number + 10]
        if name.endswith("parquet"):
            parquet.write_table(pyarrow.Table.from_pylist(rows), folder / name)
        elif name.endswith("csv"):
            (folder / name).write_text("question,answer\n" + "".join(f"{r['question']},{r['answer']}\n" for r in rows))
        else:
            write_jsonl(folder / name, rows)
    return str(folder)


def firsts(dataset):
    """Which files of `place` the problems are from."""
    return sorted({int(problem.question.split()[2]) // 10 for problem in dataset.problems})
