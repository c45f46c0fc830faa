"""The machines of a Slurm job: which there are beside this one, and how a process is started on one of them."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence

from harness.errors import UserError

# A step with the whole of a machine's share of the job, beside what runs there already, and with our environment.
STEP = ("srun", "--overlap", "--nodes=1", "--ntasks=1", "--export=ALL", "--mpi=none", "--cpu-bind=none", "--quiet")
# What the job's options leave in the environment, where srun reads them as the step's.
OF_THE_JOB = {
    "SLURM_CPUS_PER_GPU", "SLURM_GPUS", "SLURM_GPUS_PER_SOCKET", "SLURM_GPUS_PER_TASK", "SLURM_NTASKS_PER_GPU",
    "SLURM_NTASKS_PER_NODE", "SLURM_TRES_PER_TASK",
}  # fmt: skip


def other_machines(seen: int, lent: int = 0) -> dict[str, int]:
    """The job's other machines, and how many GPUs each has; none outside the batch script of a job of several.

    `seen` GPUs of this machine are ours, `lent` another stage has. Slurm tells of this machine's GPUs alone, so the
    others count as its like; where the user has narrowed CUDA_VISIBLE_DEVICES here, the others are not ours to take. A
    step (`srun harness …`) has none, as it may be one of several that its user has given a machine each, nor has a
    container without Slurm's programs. Raises UserError if Slurm does not answer.
    """
    nodes, here = os.environ.get("SLURM_JOB_NODELIST"), os.environ.get("SLURMD_NODENAME")
    is_script = nodes and here and nodes != here and "SLURM_STEP_ID" not in os.environ
    if not (is_script and shutil.which("scontrol") and shutil.which("srun")):
        return {}
    each = _gpus_told() or seen + lent
    if seen + lent < each:
        return {}
    asked = ["scontrol", "show", "hostnames", nodes]
    try:
        names = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.split()
    except subprocess.CalledProcessError as error:
        raise UserError(
            f"`{' '.join(asked)}` ends with {error.returncode}: ask the cluster's people, or unset SLURM_JOB_NODELIST "
            "to use this machine alone"
        ) from error
    return {name: each for name in names if name != here}


def on(machine: str, command: Sequence[str]) -> list[str]:
    """The command that runs another one on a machine of the job, where it sees as many GPUs as Slurm gave us here."""
    told = _gpus_told()
    return [*STEP, f"--nodelist={machine}", *([f"--gpus-per-node={told}"] if told else []), *command]


def _gpus_told() -> int:
    """The GPUs that Slurm gave the job on this machine; 0 if it does not count them."""
    told = os.environ.get("SLURM_GPUS_ON_NODE", "")
    return int(told) if told.isdecimal() else 0


def environment_of_step(ours: Mapping[str, str]) -> dict[str, str]:
    """The environment for `on`."""
    return {name: value for name, value in ours.items() if name not in OF_THE_JOB}


def address_of_caller() -> str:
    """In a process that `on` started: the address of the machine that it was started from."""
    return os.environ["SLURM_LAUNCH_NODE_IPADDR"]
