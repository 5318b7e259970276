"""A cluster for the tests of a module, and a user's machine in it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.hosts import Host, hosts, need
from tests.cluster.slurm import slurm
from tests.cluster.sshd import sshd
from tests.launcher.machine import Machine


class UsersMachine(Machine):
    """A machine whose commands run on the first host of a cluster."""

    def __init__(self, folder: Path, host: Host, variables: dict[str, str]) -> None:
        super().__init__(folder)
        self.host, self.variables = host, variables

    def run(self, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
        return self.host.run(sys.executable, "-m", "tpdeploy", *args, **self.environment(**env))

    def environment(self, **more: str) -> dict[str, str]:
        return {**super().environment(), **self.variables, **more}

    def answers(self, url: str) -> bool:
        """Whether a client on this host is served."""
        asked = ("curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}")
        return self.host.run(*asked, f"{url}/v1/models").stdout == "200"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Host]]:
    """Three hosts; users are on the first."""
    need("ip", "nsenter")
    with hosts(3, tmp_path_factory.mktemp("hosts")) as made:
        yield made


@pytest.fixture(scope="module")
def slurm_variables(
    cluster: list[Host], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """By which commands find it: a controller on the first host, nodes on the others."""
    need("sbatch", "slurmctld", "slurmd", "munged")
    head, *nodes = cluster
    with slurm(head, nodes, tmp_path_factory.mktemp("slurm")) as variables:
        yield variables


@pytest.fixture
def on_slurm(
    tmp_path: Path, cluster: list[Host], slurm_variables: dict[str, str]
) -> Iterator[UsersMachine]:
    """A login node, with the stand-in engine where the nodes find it."""
    made = UsersMachine(tmp_path, cluster[0], slurm_variables)
    yield made
    made.run("stop")


@pytest.fixture
def over_ssh(tmp_path: Path, cluster: list[Host]) -> Iterator[UsersMachine]:
    """A user's machine with a key for the others."""
    need("ssh", "sshd")
    made = UsersMachine(tmp_path, cluster[0], {})
    with sshd(cluster[1:], tmp_path, {"TPDEPLOY_HOME": str(made.home)}) as own:
        made.variables["PATH"] = f"{own}{os.pathsep}{os.environ['PATH']}"
        yield made
        made.run("stop")
