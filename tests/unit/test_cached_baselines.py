"""A baseline is drawn once, and never handed to another model, prompt or sampling."""

import shutil

import pytest
from conftest import configuration

from harness.evaluation import evaluate
from harness.models import checkpoints
from harness.storage.run_folder import Run


def baseline(folder, *settings, **options) -> tuple[Run, bool]:
    run = Run.create(folder, configuration(*settings, **({"limit": 4} | options)), "harness eval")
    evaluate.evaluate(run, ["before"], None, True, None)
    return run, run.record.provenance["before"]["cached"]


@pytest.fixture
def copy(tmp_path):
    return shutil.copytree(checkpoints.locate("embedded"), tmp_path / "copy")


def test_the_same_baseline_is_not_drawn_again(tmp_path):
    first, cached = baseline(tmp_path / "first")
    assert not cached
    # What only matters to training or grading makes no other baseline.
    second, cached = baseline(tmp_path / "second", "steps=3", "variant=tutorial")
    assert cached
    assert second.completions("before") == first.completions("before")
    assert second.evaluation("before").completions


@pytest.mark.parametrize(
    ("settings", "options"),
    [
        (["temperature=0"], {}),
        (["max_tokens=40"], {}),
        ([], {"seed": 1}),
        ([], {"limit": 3}),
        ([], {"samples": 2}),
        ([], {"format": "xml"}),
        ([], {"engine_args": {"batch_size": "3"}}),
        ([], {"system_prompt": "none"}),
    ],
)
def test_what_changes_replies_makes_another_baseline(tmp_path, settings, options):
    baseline(tmp_path / "first")
    assert not baseline(tmp_path / "second", *settings, **options)[1]


def test_another_models_baseline_is_never_handed_out(tmp_path, copy):
    baseline(tmp_path / "first")
    # The same files elsewhere are the same model; edited ones are not.
    assert baseline(tmp_path / "same", model=str(copy), recipe="tiny")[1]
    template = copy / "chat_template.jinja"
    template.write_text(template.read_text() + "\n")
    assert not baseline(tmp_path / "edited", model=str(copy), recipe="tiny")[1]


@pytest.mark.parametrize(
    "damage",
    [
        lambda entry: entry.write_text(entry.read_text()[:-40]),
        lambda entry: (entry.unlink(), entry.mkdir()),
        lambda entry: (entry.unlink(), entry.symlink_to(entry.name)),
        lambda entry: (entry.unlink(), entry.symlink_to("nowhere")),
    ],
    ids=["cut", "folder", "circle", "nowhere"],
)
def test_a_damaged_entry_is_drawn_again(tmp_path, damage):
    baseline(tmp_path / "first")
    (entry,) = (tmp_path / "cache" / "baselines").iterdir()
    damage(entry)
    run, cached = baseline(tmp_path / "second")
    assert not cached
    assert len(run.completions("before")) == 4


def test_a_cache_that_cannot_be_written_fails_no_run(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "file"))
    run, cached = baseline(tmp_path / "run")
    assert not cached
    assert run.record.is_done("before")
