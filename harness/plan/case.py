"""What an estimate depends on: the machine, the trainer, the checkpoint's size, the earlier runs."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path

from harness.config import Configuration
from harness.engines import engine_name
from harness.errors import UserError
from harness.memory import all_bytes
from harness.models import checkpoints
from harness.models.adapters import NOT_LANGUAGE
from harness.models.quantized import is_quantized
from harness.stages import BASE, LAST, SIDES, STAGES
from harness.storage.run_folder import Run

UNKNOWN = "unknown"
GIB = 2**30
# Of the checkpoint that was measured on an H200, Gemma 3 4B's shape (baselines/peers).
H200_PARAMETERS = 4.31e9
# A size in a checkpoint's name: gemma-3-4b-it, Qwen3-0.6B, SmolLM2-135M; not the 4b of 4bit.
NAMED_SIZE = re.compile(r"(?<![a-z0-9.])(\d+(?:\.\d+)?)([bm])(?![a-z0-9])", re.IGNORECASE)


@dataclass(frozen=True)
class Machine:
    """The machine of a run: `gpu` is the first that torch can use; memory in bytes."""

    cores: int
    memory: int
    gpu: str | None = None
    gpu_memory: int = 0

    def room(self, on_cpu: bool) -> int:
        """Bytes that a model here may take."""
        return self.memory if on_cpu else self.gpu_memory

    def __str__(self) -> str:
        here = f"{self.cores} cores with {bytes_shown(self.memory)}"
        return f"{self.gpu} with {bytes_shown(self.gpu_memory)}; {here}" if self.gpu else f"{here}; torch sees no GPU"


@dataclass(frozen=True)
class Trainer:
    """The trainer of a run: `config` as this machine can run it, what was `replaced` for that, with the reasons, and
    the most parameters that are trained without a GPU."""

    name: str
    config: Configuration
    replaced: dict[str, str]
    most_on_cpu: float


@dataclass(frozen=True)
class Size:
    """A checkpoint's parameters, None if unknown, and the source of that number.

    `adapter`: the parameters of the configured LoRA, None if no file shows the layers; `stored`: the bytes of weights
    that are quantized already.
    """

    parameters: float | None
    source: str
    adapter: int | None = None
    stored: int = 0

    def __str__(self) -> str:
        if not self.parameters:
            return UNKNOWN
        unit, name = (1e9, "billion") if self.parameters >= 1e9 else (1e6, "million")
        return f"{self.parameters / unit:.1f} {name}, {self.source}"


@dataclass(frozen=True)
class Earlier:
    """An earlier run."""

    path: Path
    config: Configuration
    stages: dict
    provenance: dict

    def work(self, stage: str) -> float | None:
        """How much the stage did, in the unit of work_of."""
        sides = [side for side in SIDES if side in self.stages] if self.config.adapter else [stage]
        problems = next((each["problems"] for each in self.provenance.values() if "problems" in each), None)
        if stopped := self.provenance.get(stage, {}).get("stopped_early"):
            problems = stopped["problems"]
        return work_of(stage, self.config, problems, sides)


@dataclass(frozen=True)
class Case:
    """All that an estimate depends on; `problems` is None if only the data could tell, `earlier` newest first."""

    config: Configuration
    names: list[str]
    problems: int | None
    machine: Machine
    trainer: Trainer
    earlier: list[Earlier]

    @cached_property
    def engine(self) -> str:
        return engine_name(self.config.engine)

    @cached_property
    def size(self) -> Size:
        return size_of(self.config)

    @property
    def device(self) -> str:
        """As an evaluation's provenance names it."""
        return "cpu" if self.config.engine_args.get("device") == "cpu" else self.machine.gpu or "cpu"

    def work(self, stage: str) -> float | None:
        sides = [BASE, LAST] if self.config.adapter else [stage]
        return work_of(stage, self.config, self.problems, sides)


def this_machine() -> Machine:
    import torch

    memory, cores = all_bytes(), os.cpu_count() or 1
    if not torch.cuda.is_available():
        return Machine(cores, memory)
    gpu = torch.cuda.get_device_properties(0)
    return Machine(cores, memory, gpu.name, gpu.total_memory)


def earlier_runs_of(runs: Path, checkpoint: str) -> Iterator[Earlier]:
    """The runs of a checkpoint, newest first; folders that cannot be read are skipped."""
    for path in sorted(runs.glob("*/run.json"), key=lambda path: path.stat().st_mtime, reverse=True):
        with suppress(UserError):
            run = Run.open(path.parent)
            if run.config.checkpoint == checkpoint:
                yield Earlier(run.path, run.config, run.record.stages, run.record.provenance)


def work_of(stage: str, config: Configuration, problems: int | None, sides: Sequence[str]) -> float | None:
    """How many replies, completions, epochs or reports a stage makes; None if not known.

    `sides`: those whose replies it generates together.
    """
    unit = STAGES[stage].unit
    if unit == "report":
        return 1
    if unit == "epochs":
        return config.sft_epochs
    if unit == "completions":
        return config.steps * config.prompts_per_step * config.generations
    return problems * sum(config.samples_of(side != BASE) for side in sides) if problems else None


def size_of(config: Configuration) -> Size:
    """A checkpoint's size, from its files, its config.json or its name."""
    folder = checkpoints.folder_here(config.checkpoint)
    if folder:
        shapes = checkpoints.shapes(folder)
        quantized = is_quantized(checkpoints.model_config(str(folder)))
        if shapes and not quantized:
            return Size(sum(map(prod, shapes.values())), "counted in its files", _adapter_size(config, shapes))
        if parameters := checkpoints.parameters(str(folder)):
            stored = checkpoints.weight_bytes(str(folder)) if quantized else 0
            return Size(parameters, "by its config.json", stored=stored)
    match = NAMED_SIZE.search(Path(config.checkpoint).name)
    if not match:
        return Size(None, UNKNOWN)
    return Size(float(match[1]) * {"b": 1e9, "m": 1e6}[match[2].lower()], "by its name")


def _adapter_size(config: Configuration, shapes: dict[str, list[int]]) -> int:
    """The LoRA's parameters: two matrices of its rank at each of the language model's target layers."""
    names = tuple(f".{target}.weight" for target in config.lora_targets)
    layers = [
        shape
        for name, shape in shapes.items()
        if name.endswith(names) and not any(part in name for part in NOT_LANGUAGE)
    ]
    return config.lora_rank * sum(map(sum, layers))


def bytes_shown(count: float) -> str:
    """Bytes as people read them."""
    return f"{count / GIB:.1f} GiB" if count > 0.1 * GIB else f"{count / 2**20:.1f} MiB"
