"""What the nodes of a Slurm cluster have."""

import re
from contextlib import suppress

from tpdeploy.errors import InputError, TpdeployError, one_line, shown
from tpdeploy.launcher.offers import Offer, counted
from tpdeploy.launcher.runtimes.slurm_queue import answered, last_line
from tpdeploy.profiles.devices.accelerator import Accelerator
from tpdeploy.profiles.devices.catalog import find_accelerator

# States of a node that takes no jobs now, in short (sinfo(1), NODE STATE CODES).
AWAY = frozenset({"down", "drain", "drng", "fail", "failg", "inval", "maint", "unk", "no_resp"})
GPUS = re.compile(r"gpu(?::(?P<type>[^:,(]*[^:,(\d][^:,(]*))?:(?P<count>\d+)")
FIELDS = 3


def offers_of(partition: str) -> list[Offer]:
    """The nodes of a partition, or of all ("") of them; devices by the types of their gres.

    Raises:
        InputError: GPUs of a type that the catalog does not know.
        TpdeployError: the controller does not answer, or knows no such partition.
    """
    asked = ["sinfo", "--Node", "--noheader", "--format=%N|%G|%t"]
    done = answered([*asked, *([f"--partition={partition}"] if partition else [])])
    if done.returncode:
        raise TpdeployError(f"sinfo: {one_line(last_line(done.stderr))}")
    rows = {line.strip() for line in done.stdout.splitlines()}
    nodes = [row.split("|") for row in sorted(rows) if row.count("|") == FIELDS - 1]
    return counted(
        (_device(gpu["type"] or "", partition).name, gpu["type"], int(gpu["count"]))
        for _, gres, state in nodes
        if state.rstrip("*~#!%$@+-") not in AWAY
        for gpu in GPUS.finditer(gres)
    )


def _device(kind: str, partition: str) -> Accelerator:
    """The accelerator that a type of gres stands for; NVML's names are written with underscores."""
    if kind:
        with suppress(InputError):
            return find_accelerator(kind)
        with suppress(InputError):
            return find_accelerator(kind.replace("_", " "))
    raise InputError(
        f"--gpus slurm{':' if partition else ''}{partition}: its GPUs have "
        f"{f'the type {shown(kind)}' if kind else 'no type'}; name them, as 2x8xH100"
    )
