"""The machines of a Slurm job: which there are beside this one, and how a process is started on one of them."""

import os
import subprocess
from collections.abc import Sequence

from harness.errors import UserError

# The whole of a machine's share of the job, beside what runs there already; srun's own words go where the process's do.
STEP = ("srun", "--overlap", "--nodes=1", "--ntasks=1", "--mpi=none", "--cpu-bind=none", "--quiet")


def other_machines(gpus_here: int) -> dict[str, int]:
    """The job's other machines, and how many GPUs each has; none outside the batch script of a job of several.

    Slurm tells of this machine's GPUs alone, so the others count as its like. A step (`srun harness …`) has none: it
    may be one of several that its user has given a machine each. Raises UserError if Slurm does not answer.
    """
    nodes, here = os.environ.get("SLURM_JOB_NODELIST"), os.environ.get("SLURMD_NODENAME")
    if not nodes or not here or "SLURM_STEP_ID" in os.environ:
        return {}
    asked = ["scontrol", "show", "hostnames", nodes]
    try:
        names = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.split()
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError(
            f"`{' '.join(asked)}` fails ({error}): put scontrol on the PATH, or unset SLURM_JOB_NODELIST to use this "
            "machine alone"
        ) from error
    each = int(os.environ.get("SLURM_GPUS_ON_NODE", gpus_here))
    return {name: each for name in names if name != here}


def on(machine: str, command: Sequence[str]) -> list[str]:
    """The command that runs another one on a machine of the job."""
    return [*STEP, f"--nodelist={machine}", *command]


def address_of_caller() -> str:
    """In a process that `on` started: the address of the machine that it was started from."""
    return os.environ["SLURM_LAUNCH_NODE_IPADDR"]
