"""What a report notes of a side's evaluation, by what the evaluation recorded."""

import pytest

from reports import notes


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
