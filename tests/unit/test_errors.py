"""Messages of libraries become parts of our sentences."""

import pytest

from harness.errors import cause, said

CAUSES = {
    "no such file": "no such file",
    "Free the GPU's memory.": "Free the GPU's memory",
    "One sentence.\nAnother.": "One sentence. Another",
    "not in this version (use 1.2.)": "not in this version (use 1.2.)",
    "it goes on...": "it goes on...",
    ".": "",
    "": "",
}


@pytest.mark.parametrize(("message", "expected"), CAUSES.items())
def test_a_cause_is_one_line_without_a_full_stop(message, expected):
    assert cause(ValueError(message)) == expected
    assert said(message) == expected


def test_a_long_cause_is_cut():
    assert cause("word " * 100, 12) == "word word wo"
