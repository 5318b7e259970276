"""What the driver says is read as it stands, and what it does not say is left open."""

import os
import sys
from types import SimpleNamespace

import pytest

from tests.launcher import standin_nvml
from tpdeploy.errors import TpdeployError
from tpdeploy.profiles.machine.nvml import Driver, read_driver


@pytest.fixture(autouse=True)
def two_h100(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", standin_nvml)


def driver() -> Driver:
    found = read_driver()
    assert found is not None
    return found


def test_versions_and_free_memory_are_read() -> None:
    """CUDA's number becomes a version; names may come as bytes."""
    found = driver()
    assert (found.version, found.cuda) == ("570.124.06", "12.8")
    assert [gpu.free_bytes for gpu in found.gpus] == [80_959 << 20] * 2
    assert found.barriers == {}


def test_processes_have_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is not visible from here is told as such."""
    pids = (os.getpid(), 2**22 + 1)  # beyond the kernel's largest number
    both = [SimpleNamespace(pid=pid, usedGpuMemory=None) for pid in pids]
    monkeypatch.setattr(standin_nvml, "PROCESSES", both)
    first, second = driver().gpus
    assert [process.pid for process in first.processes] == list(pids)
    assert first.processes[0].name
    assert first.processes[1].name == "not visible here"
    assert second.processes == ()


def test_gpus_that_do_not_reach_each_other_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the driver's own word."""
    monkeypatch.setattr(standin_nvml, "READS_PEERS", False)
    assert driver().barriers == {(0, 1): "chipset not supported"}


def test_what_the_driver_does_not_say_is_left_open() -> None:
    """In a virtual machine it may not know where a GPU sits."""
    assert [(gpu.numa_node, gpu.translated) for gpu in driver().gpus] == [(None, None)] * 2


def test_without_a_driver_there_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is no error."""

    def refuse() -> None:
        raise standin_nvml.NVMLError

    monkeypatch.setattr(standin_nvml, "nvmlInit", refuse)
    assert read_driver() is None


def test_a_driver_that_fails_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the driver's word and what to look at."""

    def lost(_: int) -> None:
        raise standin_nvml.NVMLError("GPU is lost")

    monkeypatch.setattr(standin_nvml, "nvmlDeviceGetMemoryInfo", lost)
    with pytest.raises(TpdeployError, match="GPU is lost; see nvidia-smi"):
        read_driver()
