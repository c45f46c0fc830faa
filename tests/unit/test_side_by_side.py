"""When the base model is evaluated beside the training, and that two stages lose nothing of each other's record."""

import subprocess
import sys

import pytest
from conftest import configuration

from harness.evaluation.pipeline import gpus_side_by_side
from harness.storage.run_folder import Run

TWO, FOUR = ["0", "1"], ["GPU-a", "GPU-b", "GPU-c", "GPU-d"]


@pytest.mark.parametrize(
    ("seen", "settings", "options", "shared"),
    [
        ([], [], {}, None),
        (["0"], [], {}, None),
        (TWO, [], {}, (["1"], ["0"])),
        (FOUR, [], {}, (["GPU-b", "GPU-c", "GPU-d"], ["GPU-a"])),
        (FOUR, [], {"engine_args": {"data_parallel_size": "3"}}, (["GPU-b", "GPU-c", "GPU-d"], ["GPU-a"])),
        (FOUR, [], {"engine_args": {"data_parallel_size": "4"}}, None),
        (TWO, [], {"engine": "vllm", "engine_args": {"tensor_parallel_size": "2"}}, None),
        (FOUR, [], {"engine": "vllm", "engine_args": {"tensor_parallel_size": "2"}}, (FOUR[1:], FOUR[:1])),
        (TWO, [], {"engine_args": {"device": "cpu"}}, None),
        (TWO, [], {"engine": "scripted", "engine_args": {"replies": "r.jsonl"}}, None),
        (TWO, ["launcher=torchrun --nproc-per-node 2"], {}, None),
        (TWO, ["rollouts=server"], {}, None),
    ],
)
def test_gpus_of_the_base_and_of_the_training(seen, settings, options, shared):
    assert gpus_side_by_side(configuration(*settings, **options), seen) == shared


WRITER = """
import sys
from pathlib import Path
from harness.storage.run_folder import Run

run, name = Run.open(Path(sys.argv[1])), sys.argv[2]
for number in range(40):
    file = run.path / f"{name}-{number}"
    file.write_text(name)
    run.hashes.add(file)
    run.record.mark(f"{name}-{number}", "done", 1.0, {"problems": number})
    run.record.set_provenance(name, {"problems": number})
"""


def test_two_processes_that_write_one_record_lose_nothing(tmp_path):
    run = Run.create(tmp_path / "run", configuration(), "harness run")
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, run.path, name]) for name in ("one", "other")]
    assert [writer.wait() for writer in writers] == [0, 0]
    wanted = {f"{name}-{number}" for name in ("one", "other") for number in range(40)}
    assert run.record.stages.keys() == run.hashes.stored().keys() == wanted
    assert run.record.provenance.keys() == wanted | {"one", "other"}
