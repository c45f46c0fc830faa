"""The table of stages: which a run has, who runs each, and that each reads what is there by then."""

import importlib

import pytest
from conftest import configuration

from harness import stages
from harness.cli.stage_functions import run_stage
from harness.data import datasets
from harness.errors import UserError
from harness.stages import ROWS, SIDES, STAGES
from harness.storage.run_folder import Run

SFT = "sft_dataset=word-problems"


@pytest.mark.parametrize(
    ("settings", "options", "before_after", "names"),
    [
        ((), {}, False, ["before", "report"]),
        ((), {}, True, ["before", "train", "after", "report"]),
        ((SFT,), {}, True, ["before", "warm-up", "sft", "train", "after", "report"]),
        ((SFT,), {}, False, ["before", "report"]),
        ((), {"adapter": "a"}, True, ["before+after", "report"]),
        ((SFT,), {"adapter": "a"}, False, ["before+after", "report"]),
        ((), {"also": ("arc_easy",)}, False, ["before", "also-before", "report"]),
        ((), {"also": ("arc_easy",)}, True, ["before", "also-before", "train", "after", "also-after", "report"]),
        ((), {"also": ("arc_easy",), "adapter": "a"}, False, ["before+after", "also-before", "also-after", "report"]),
    ],
)
def test_what_a_run_has(settings, options, before_after, names):
    config = configuration(*settings, **options)
    assert stages.of_run(config, before_after) == names
    assert stages.sides_of(names) <= set(SIDES)


def test_what_trains():
    assert stages.of_training(configuration()) == ["train"]
    assert stages.of_training(configuration(SFT)) == ["warm-up", "train"]
    assert stages.of_base(configuration(also=("arc_easy",))) == ["before", "also-before"]


@pytest.mark.parametrize("stage", ROWS, ids=lambda stage: stage.name)
def test_a_row_is_whole(stage):
    module, _, function = stage.runs.partition(":")
    assert callable(getattr(importlib.import_module(module), function))
    assert stage.data is None or callable(getattr(datasets, stage.data))
    assert stage.writes
    earlier = [place for row in ROWS[: ROWS.index(stage)] for place in row.writes]
    assert all(any(place.startswith(written) for written in earlier) for place in stage.reads)
    assert bool(stage.makes) + bool(stage.tasks_of) + stage.trains + (stage.name == stages.REPORT) == 1


def test_names_and_titles_tell_stages_apart():
    assert len(STAGES) == len({stage.title for stage in ROWS}) == len(ROWS)
    assert stages.title_of("warm-up") == "train-sft"
    assert stages.title_of("what an older program did") == "what an older program did"


def test_an_unknown_stage_is_one_line(tmp_path):
    run = Run.create(tmp_path / "run", configuration(), "harness run")
    with pytest.raises(UserError, match="unknown stage 'trian': did you mean 'train'"):
        run_stage(run, "trian", quiet=True)
