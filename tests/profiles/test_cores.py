"""What this process may use is read from the kernel: affinity, NUMA nodes, control group."""

import os
from pathlib import Path

import psutil
import pytest

from tpdeploy.profiles.machine import cores


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kernel of two NUMA nodes with interleaved core numbers, and no limits."""
    for node, numbers in enumerate(("0,2,4,6", "1,3,5,7")):
        folder = tmp_path / "node" / f"node{node}"
        folder.mkdir(parents=True)
        (folder / "cpulist").write_text(numbers + "\n")
    monkeypatch.setattr(cores, "NUMA_NODES", tmp_path / "node")
    monkeypatch.setattr(cores, "CGROUP", tmp_path)
    monkeypatch.setattr(cores, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    return tmp_path


@pytest.mark.usefixtures("kernel")
def test_cores_of_a_numa_node_stand_side_by_side() -> None:
    """So that equal parts of the list never straddle nodes."""
    assert cores.usable_cores() == [0, 2, 4, 6, 1, 3, 5, 7]


@pytest.mark.usefixtures("kernel")
def test_affinity_hides_cores_and_their_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process pinned to one node sees that node alone."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 3})
    assert cores.numa_nodes() == [[1, 3]]


@pytest.mark.parametrize(
    ("quota", "count"),
    [("max 100000", 8), ("200000 100000", 2), ("50000 100000", 1), ("9900000 100000", 8)],
)
def test_a_cpu_quota_limits_the_cores(kernel: Path, quota: str, count: int) -> None:
    """A container given two cores' worth of time uses two; every process has at least one."""
    (kernel / "cpu.max").write_text(quota + "\n")
    assert len(cores.usable_cores()) == count


@pytest.mark.usefixtures("kernel")
def test_cores_no_numa_node_lists_are_one_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel without NUMA files still has its cores."""
    monkeypatch.setattr(cores, "NUMA_NODES", Path("none"))
    assert cores.numa_nodes() == [list(range(8))]


@pytest.mark.parametrize("limit", ["max", "1000000"])
def test_a_control_group_limits_memory(kernel: Path, limit: str) -> None:
    """Memory is the machine's, or less where a limit is set."""
    (kernel / "memory.max").write_text(limit + "\n")
    expected = 1000000 if limit.isdigit() else psutil.virtual_memory().total
    assert cores.memory_bytes() == expected


def test_memory_that_a_control_group_leaves_is_free(kernel: Path) -> None:
    """Its limit less what is used, where pages of files do not count; the machine's without one."""
    assert 0 < cores.free_memory_bytes() <= psutil.virtual_memory().total
    (kernel / "memory.max").write_text("1000000\n")
    (kernel / "memory.current").write_text("700000\n")
    (kernel / "memory.stat").write_text("anon 500000\ninactive_file 200000\n")
    assert cores.free_memory_bytes() == 500000


@pytest.mark.parametrize(("flags", "native"), [("avx2 avx512_bf16", True), ("avx2 fma", False)])
def test_bf16_instructions_are_seen(kernel: Path, flags: str, native: bool) -> None:
    """The kernel's list of CPU flags decides."""
    (kernel / "cpuinfo").write_text(f"flags\t\t: {flags}\n")
    assert cores.computes_in_bf16() is native
