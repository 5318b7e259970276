"""A real Slurm: a controller and nodes with eight GPUs each that are none."""

import os
import stat
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import Popen

from tests.cluster.hosts import SBIN, Host

CONFIG = """\
ClusterName=tests
SlurmctldHost={head}({head_address})
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SchedulerType=sched/backfill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
ReturnToService=2
SwitchType=switch/none
MpiDefault=none
GresTypes=gpu
KillWait=5
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SlurmdParameters=config_overrides
TreeWidth=65533
{nodes}
PartitionName=gpu Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
NODE = "NodeName={0.name} NodeAddr={0.address} CPUs=4 RealMemory=8000 Gres=gpu:h100:8 State=UNKNOWN"
GPUS = 8
READY_TIMEOUT_S = 30.0


@contextmanager
def slurm(head: Host, nodes: Sequence[Host], folder: Path) -> Iterator[dict[str, str]]:
    """The variables by which its commands find it."""
    (folder / "state").mkdir()
    folder.chmod(0o755)
    for number in range(GPUS):
        os.mknod(folder / f"nvidia{number}", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    names = ",".join(node.name for node in nodes)
    gres = f"NodeName={names} Name=gpu Type=h100 File={folder}/nvidia[0-{GPUS - 1}]\n"
    (folder / "gres.conf").write_text(gres)
    lines = "\n".join(NODE.format(node) for node in nodes)
    config = folder / "slurm.conf"
    found = {"head": head.name, "head_address": head.address, "folder": folder, "nodes": lines}
    config.write_text(CONFIG.format(**found))
    variables = {"SLURM_CONF": str(config)}
    with ExitStack() as ends:
        key = folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        own = [f"--{name}-file={folder}/munge.{name}" for name in ("pid", "log", "seed")]
        own.append(f"--socket={folder}/munge.socket")
        _started(["munged", "--foreground", "--force", f"--key-file={key}", *own], ends)
        _started(head.command(["slurmctld", "-D"]), ends, **variables)
        for node in nodes:
            _started(node.command(["slurmd", "-D"]), ends, **variables)
        _wait_until_idle(head, len(nodes), variables)
        yield variables


def _started(argv: Sequence[str], ends: ExitStack, **variables: str) -> None:
    path = f"{os.environ['PATH']}:{SBIN}"
    log = subprocess.DEVNULL
    process = Popen(argv, env={**os.environ, **variables, "PATH": path}, stdout=log, stderr=log)
    ends.callback(process.wait)
    ends.callback(process.terminate)


def _wait_until_idle(head: Host, count: int, variables: dict[str, str]) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline:
        told = head.run("sinfo", "--noheader", "--format=%t %D", **variables).stdout.split()
        if told == ["idle", str(count)]:
            return
        time.sleep(0.2)
    raise AssertionError(f"Slurm does not come up: {told}")
