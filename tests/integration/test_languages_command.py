import json

import pytest

from harness.statistics import power
from harness.statistics.language_count import LanguageCount, difference, in_words
from harness.types import Score


def scores(*languages):
    return [Score(str(place), 0, None, language, {}, {}) for place, language in enumerate(languages)]


def test_a_tutorials_twelve_against_eight_cannot_be_told():
    before = scores(*["id"] * 8, *["en"] * 12)
    after = scores(*["id"] * 4, *["en"] * 4, *["id"] * 8, *["en"] * 4)
    found = difference(before, after, "id")
    assert (found.gained, found.lost) == (8, 4)
    assert found.fisher == pytest.approx(0.343, abs=0.001)
    assert found.paired == pytest.approx(0.388, abs=0.001)
    assert not found.is_significant
    counts = [
        LanguageCount(side, hits, 20, 0, 1, {"id": hits, "ms": 1}) for side, hits in (("before", 8), ("after", 12))
    ]
    words = " ".join(in_words(counts, found, "id"))
    assert "12/20 against 8/20: 20 samples cannot tell this from chance" in words
    assert str(power.problems_needed(0.2, 0.6)) in words
    assert "Malay (ms): before 1, after 1" in words


def test_a_clear_difference_is_said():
    found = difference(scores(*["en"] * 20), scores(*["id"] * 20), "id")
    assert found.is_significant
    assert found.paired < 1e-5


def test_problems_needed_inverts_the_detectable_difference():
    assert power.problems_needed(power.detectable_difference(300, 0.3), 0.3) in (300, 301)
    assert power.problems_needed(0.0, 0.3) is None


def test_the_command_counts_without_an_adapter(harness, tmp_path):
    done = harness("languages", "--format", "think", "--samples", "6", "--json", "--quiet")
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout.splitlines()[-1])
    assert made["target"] == "id"
    (side,) = made["sides"]
    assert side["n"] == sum(side["languages"].values()) == 6
    assert side["hits"] == side["languages"].get("id", 0)
    assert made["difference"] is None
    again = harness("languages", "--format", "think", "--samples", "6")
    assert "before: done already" in again.stderr
    assert "Malay (ms)" in again.stdout
