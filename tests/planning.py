"""Machines and earlier runs for the tests of plans."""

from pathlib import Path

from conftest import configuration

from harness.plan import make_plan
from harness.plan.case import GIB, Machine, Trainer
from harness.storage.files import write_json
from harness.storage.run_folder import Run

LAPTOP = Machine(cores=2, memory=16 * GIB)
H200 = Machine(cores=16, memory=128 * GIB, gpu="NVIDIA H200", gpu_memory=140 * GIB)
SMALL_GPU = Machine(cores=8, memory=32 * GIB, gpu="Tesla T4", gpu_memory=15 * GIB)
ALL = ["before", "train", "after", "report"]
ON_CPU = {"engine": "transformers", "device": "cpu", "problems": 100, "cached": False}


def plan(config, names=ALL, machine=LAPTOP, trainer="trl", runs=Path("nowhere"), detect=None) -> dict:
    return make_plan(config, names, Path("r"), runs, machine, Trainer(trainer, config, {}, 1e9), detect)


def earlier(folder: Path, stages: dict[str, float], provenance: dict | None = None, **options) -> Run:
    """A finished run of the embedded model on 100 problems: its stages with their seconds."""
    run = Run.create(folder, configuration("steps=4", limit=100, **options), "harness run")
    for name in stages:
        with run.record.stage(name) as noted:
            noted |= (provenance if provenance is not None else ON_CPU) if name != "report" else {}
    record = run.record.read()
    record["stages"] = {name: {"state": "done", "seconds": seconds} for name, seconds in stages.items()}
    write_json(folder / "run.json", record)
    return run
