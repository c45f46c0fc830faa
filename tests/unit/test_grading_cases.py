"""Replies after public reports, in grading.jsonl, and Math-Verify's own cases: each read as its teacher would."""

import json
from pathlib import Path

import pytest

from harness.data.samples import Reading
from harness.evaluation.scoring import score_text

CASES = [json.loads(line) for line in (Path(__file__).parent / "grading.jsonl").open(encoding="utf-8")]
# Of the same input Math-Verify's own tests expect both; harness/READING.md argues it.
EXCEPTIONS = {"set_rel_assymetry-2"}


def graded(row):
    reading = Reading.of(row["dataset"], row["format"], row.get("language"))
    return score_text(row["completion"], row["answer"], reading.format, reading.equality, reading.language).scores


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_a_reply_is_read_as_it_was_meant(case):
    assert graded(case).items() >= case["expected"].items()


def test_math_verifys_own_cases(test_data):
    rows = [json.loads(line) for line in (test_data / "peers" / "math_verify.jsonl").open(encoding="utf-8")]
    asked = {"dataset": "dapo", "format": "think"}
    got = {
        row["id"]: graded(row | asked | {"completion": f"<think>x</think>{row['completion']}"})["accuracy_flexible"]
        for row in rows
    }
    assert {row["id"] for row in rows if got[row["id"]] != row["expected"]} <= EXCEPTIONS
