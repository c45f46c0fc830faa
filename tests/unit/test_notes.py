"""What a report notes of a side's evaluation, by what the evaluation recorded."""

import pytest

from harness.types import DESCRIBED, Difference
from reports import notes, run_view


@pytest.mark.parametrize(
    ("recorded", "said"),
    [
        ({}, []),
        ({"engine_args": {"kv_cache_dtype": "auto"}}, []),
        (
            {"engine_args": {"kv_cache_dtype": "fp8"}},
            ["before: keys and values were kept as fp8, less precisely than the model computes them."],
        ),
        ({"loading": "vLLM is not compiled here"}, ["before: vLLM is not compiled here."]),
        ({"data_parallel_size": 2}, ["before: 2 replicas of the model generated the replies, side by side."]),
        ({"drawn_again": {"replies": 8, "differ": 1}}, ["before: 1 of 8 greedy replies differ when generated again."]),
    ],
)
def test_a_note_for_what_was_recorded(recorded, said):
    assert [note for note in notes.of_sides({"before": recorded}, {}) if note.startswith("before")] == said


def compared(samples: int, pairs: int, before: float, after: float, **more) -> dict:
    """A comparison with the target language id: half of the first replies before, and all of them after."""
    full = Difference(before, after, after - before, None, None, None, None, None, pairs, **more)
    languages = {"before": {"id": samples // 2, "en": samples - samples // 2}, "sft": {"id": samples}}
    return {"metrics": {"language_ratio": vars(full)}, "languages": languages, "samples": samples}


THE = " The verdict: "
FIRST = "Of the first 20 replies, 10 reason in the target language (id) before and 20 sft."
FEW = " 20 samples are too few to believe a small difference; over all 300 pairs the share is "


@pytest.mark.parametrize(
    ("comparison", "said"),
    [
        ({"metrics": {}, "languages": {}, "samples": 20}, "The run has no target language."),
        (compared(20, 20, 0.5, 1.0, verdict="better"), FIRST),
        (
            compared(20, 300, 0.5, 0.75, verdict="better"),
            f"{FIRST}{FEW}50.0% before and 75.0% sft.{THE}better.",
        ),
        (compared(20, 300, 0.5, 0.75, verdict=DESCRIBED), f"{FIRST}{FEW}50.0% before and 75.0% sft."),
        (
            compared(20, 300, 1.0, 1.0, verdict=DESCRIBED),
            f"{FIRST}{FEW}100.0% before and 100.0% sft.{THE}unchanged.",
        ),
    ],
)
def test_the_note_on_languages_names_the_sides_and_repeats_the_verdict(comparison, said):
    assert run_view._language_note(comparison, "id") == said
