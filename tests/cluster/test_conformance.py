"""What every runtime promises, of those that reach other machines: real Slurm, real ssh."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.cluster.hosts import Host, cut_off, need
from tests.cluster.sshd import sshd
from tpdeploy.backends.registry import load_backend
from tpdeploy.launcher.runtimes import ssh
from tpdeploy.launcher.runtimes.base import Engine
from tpdeploy.launcher.runtimes.conformance import SLEEP, RuntimeConformance, Trial

pytestmark = pytest.mark.cluster

PYTHON = Path(sys.executable)


class TestSlurm(RuntimeConformance):
    """Members are jobs; the test is on the login node."""

    @pytest.fixture
    def engine(
        self,
        cluster: list[Host],
        slurm_variables: dict[str, str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> Iterator[Engine]:
        for name, value in slurm_variables.items():
            monkeypatch.setenv(name, value)
        with cluster[0].entered():
            yield Engine(load_backend("vllm"), "cpu", executable=PYTHON, on="slurm")


class TestSsh(RuntimeConformance):
    """Members are on the second host; the test is on the first."""

    @pytest.fixture
    def engine(
        self, cluster: list[Host], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[Engine]:
        need("ssh", "sshd")
        with sshd(cluster[1:], tmp_path, {}) as own, cluster[0].entered():
            monkeypatch.setenv("PATH", f"{own}{os.pathsep}{os.environ['PATH']}")
            on = f"ssh:{cluster[1].address}"
            yield Engine(load_backend("vllm"), "cpu", executable=PYTHON, on=on)

    def test_stopping_waits_until_the_host_has_ended_it(
        self, trial: Trial, cluster: list[Host]
    ) -> None:
        """The connection outlives what asks it to end: engines take a while."""
        member = trial.start(
            f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}"
        )
        self.eventually(lambda: "begun" in trial.written())
        assert _deaf(cluster[1])
        trial.runtime.stop([member], grace_s=0.2)
        assert not _deaf(cluster[1])

    def test_a_host_that_is_cut_off_ends_what_it_ran(
        self, trial: Trial, cluster: list[Host], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As by a loss of power of the launching one: no end of the connection reaches it."""
        monkeypatch.setattr(ssh, "SILENCE_S", 4)
        member = trial.start(SLEEP)
        self.eventually(lambda: "begun" in trial.written())
        time.sleep(6)
        assert _sleepers(cluster[1])
        with cut_off(cluster[0]):
            self.eventually(lambda: not _sleepers(cluster[1]))
        self.eventually(lambda: not trial.runtime.observe(member).runs)


def _deaf(host: Host) -> list[psutil.Process]:
    """What runs there that nothing but SIGKILL ends."""
    return _with(host, "SIG_IGN")


def _sleepers(host: Host) -> list[psutil.Process]:
    """Members that run there."""
    return _with(host, SLEEP)


def _with(host: Host, words: str) -> list[psutil.Process]:
    """The processes there with these words on their command line."""
    found = []
    for process in host.processes():
        with suppress(psutil.Error):
            if words in " ".join(process.cmdline()):
                found.append(process)
    return found
