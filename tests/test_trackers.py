"""Trackers, each in a mode that needs no account, on what a run left behind and on a whole run."""

import json

import pytest

SMALL = ("--limit=4", "--set=steps=2", "--set=prompts_per_step=2", "--set=generations=2", "--set=eval_every=1",
         "--set=eval_problems=2", "--before-after")  # fmt: skip


def has_all(records: bytes) -> bool:
    """Whether the curves of training and probes, the metrics of both sides and the plots are in a tracker's file."""
    wanted = ("train/reward", "probe/rewards/accuracy_strict/mean", "before/accuracy_strict", "after/accuracy_strict",
              "report/training")  # fmt: skip
    return [name for name in wanted if name.encode() not in records] == []


@pytest.mark.parametrize("tracker", ["swanlab", "wandb"])
def test_one_run_has_curves_metrics_and_plots(harness, tmp_path, tracker):
    pytest.importorskip(tracker)
    done = harness("run", *SMALL, "--set", f"tracker={tracker}", "--output", "r", "--json")
    assert done.returncode == 0, done.stderr
    json.loads(done.stdout.strip().split("\n")[-1])
    (kept,) = (tmp_path / "r/tracker").rglob(f"run-*.{tracker}")
    assert has_all(kept.read_bytes())
    assert len(list((tmp_path / "r/tracker").rglob("*.png"))) == 3
    assert "ignored" not in done.stderr


def test_tensorboard_has_the_curves(harness, tmp_path):
    pytest.importorskip("tensorboard")
    done = harness("train", *SMALL[:-1], "--set", "tracker=tensorboard", "--output", "r")
    assert done.returncode == 0, done.stderr
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "r/train/tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("train/reward")] == [1, 2]


def test_swanlabs_board_is_asked_for_in_a_line(harness):
    pytest.importorskip("swanlab")
    done = harness("train", *SMALL[:-1], "--set", "tracker=swanlab", "--output", "r", SWANLAB_MODE="local")
    assert done.returncode == 2
    assert "SWANLAB_MODE=local needs swanboard: pip install 'swanlab[dashboard]'" in done.stderr
