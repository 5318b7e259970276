"""An all-reduce that fails or hangs is told with its place, and with what was found to help."""

import os
import shutil
import sys
from pathlib import Path

import psutil
import pytest

from tests.launcher import standin_allreduce, standin_nvml
from tests.launcher.plans import plan_for
from tpdeploy.backends.registry import load_backend
from tpdeploy.launcher.doctor import allreduce
from tpdeploy.launcher.doctor.case import Case
from tpdeploy.launcher.doctor.finding import Finding, fail
from tpdeploy.launcher.doctor.groups import core_groups, device_groups
from tpdeploy.launcher.runtimes.base import Engine
from tpdeploy.planner.plan import DeploymentPlan


@pytest.fixture
def python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Python that tells steps instead of doing them, on a machine with two H100."""
    monkeypatch.setitem(sys.modules, "pynvml", standin_nvml)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name in ("NCCL_P2P_DISABLE", "NCCL_IB_DISABLE", "GLOO_SOCKET_IFNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(allreduce, "STEP_TIMEOUT_S", 1.0)
    path = tmp_path / "python"
    path.write_text(f'#!/bin/sh\nexec {sys.executable} {standin_allreduce.__file__} "$@"\n')
    path.chmod(0o755)
    return path


def tried(python: Path, plan: DeploymentPlan) -> Finding:
    platform = plan.cluster.platform
    (found,) = allreduce.all_reduce(
        Case(Engine(load_backend("vllm"), platform, python=python), plan)
    )
    return found


@pytest.fixture(scope="module")
def gpus() -> DeploymentPlan:
    return plan_for("2xH100", tensor=2)


def nothing_left(python: Path) -> bool:
    running = [p.info["cmdline"] or [] for p in psutil.process_iter(["cmdline"])]
    return not any(standin_allreduce.__file__ in line for line in running)


def test_the_time_is_told_where_all_goes_well(python: Path, gpus: DeploymentPlan) -> None:
    """On GPUs over NCCL, which engines use."""
    found = tried(python, gpus)
    assert (found.verdict, found.seen) == ("ok", "1 group of 2 over nccl: 1 MiB in 0.20 ms")


def test_one_rank_a_replica_has_nothing_to_add_up(python: Path) -> None:
    """Nothing is started for it."""
    assert tried(Path("/nowhere"), plan_for("2xH100")).verdict == "ok"


@pytest.mark.slow
def test_a_hang_of_nccl_is_told_with_what_works(
    python: Path, gpus: DeploymentPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again without peer access; what NCCL warned of is shown."""
    monkeypatch.setenv("TPDEPLOY_TEST_STOP", "gloo")
    monkeypatch.setenv("TPDEPLOY_TEST_CURE", "NCCL_P2P_DISABLE")
    found = tried(python, gpus)
    assert found.verdict == "fail"
    assert "no step forward in 1 s: rank 0 is at the all-reduce over NCCL, rank 1" in found.seen
    assert "NCCL WARN Cuda failure" in found.seen
    assert found.remedy.startswith("with it set it works: export NCCL_P2P_DISABLE=1; better: ")
    assert nothing_left(python)


@pytest.mark.slow
def test_a_hang_that_nothing_cures_leaves_the_hints(
    python: Path, gpus: DeploymentPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the kernel tells of IOMMU and ACS."""
    monkeypatch.setenv("TPDEPLOY_TEST_STOP", "gloo")
    monkeypatch.setenv("TPDEPLOY_TEST_CURE", "no such variable")
    assert "grep ACSCtl" in tried(python, gpus).remedy
    assert nothing_left(python)


def test_an_error_of_a_rank_is_told(
    python: Path, gpus: DeploymentPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In its own words, with its number; gloo's interface is the first thing to try."""
    monkeypatch.setenv("TPDEPLOY_TEST_STOP", "loaded")
    monkeypatch.setenv("TPDEPLOY_TEST_ERROR", "RuntimeError: Connection refused")
    monkeypatch.setenv("TPDEPLOY_TEST_CURE", "GLOO_SOCKET_IFNAME")
    found = tried(python, gpus)
    assert found.seen.startswith("rank 1: RuntimeError: Connection refused")
    assert found.remedy == "with it set it works: export GLOO_SOCKET_IFNAME=lo"


def test_an_environment_without_pytorch_is_told(python: Path, gpus: DeploymentPlan) -> None:
    """By the last error of its program."""
    last = "ModuleNotFoundError: No module named 'torch'"
    python.write_text(f'#!/bin/sh\necho "{last}" >&2; exit 1')
    found = tried(python, gpus)
    assert (found.verdict, found.seen) == ("fail", last)


@pytest.fixture
def docker(tmp_path: Path, python: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a stand-in for Docker keeps its containers; each has the stand-in for Python."""
    programs = tmp_path / "docker" / "bin"
    programs.mkdir(parents=True)
    shutil.copy(python, programs / "python3")
    source = (Path(__file__).parent / "standin_docker.py").read_text()
    (programs / "docker").write_text(source.replace("/usr/bin/env python3", sys.executable, 1))
    (programs / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("STANDIN_DOCKER", str(programs.parent))
    return programs.parent


@pytest.mark.slow
def test_an_engine_in_an_image_is_tried_in_a_container(
    docker: Path, python: Path, gpus: DeploymentPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What hangs there is told and cured as elsewhere, and no container is left."""
    at = Case(Engine(load_backend("vllm"), "cuda", image="vendor/engine:1"), gpus)
    (found,) = allreduce.all_reduce(at)
    assert (found.verdict, found.seen) == ("ok", "1 group of 2 over nccl: 1 MiB in 0.20 ms")
    monkeypatch.setenv("TPDEPLOY_TEST_STOP", "gloo")
    monkeypatch.setenv("TPDEPLOY_TEST_CURE", "NCCL_P2P_DISABLE")
    (found,) = allreduce.all_reduce(at)
    assert "no step forward in 1 s" in found.seen
    assert "export NCCL_P2P_DISABLE=1" in found.remedy
    assert nothing_left(python)
    assert [path.name for path in docker.iterdir()] == ["bin"]


def test_a_missing_engine_is_a_warning(gpus: DeploymentPlan, python: Path) -> None:
    """Nothing was tried."""
    (found,) = allreduce.all_reduce(Case(Engine(load_backend("vllm"), "cuda"), gpus))
    assert found.verdict == "warning"
    assert "tpdeploy backends install vllm" in found.remedy


def test_gpus_that_serve_are_left_alone(
    python: Path, gpus: DeploymentPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An all-reduce would take their time, and memory that may not be there."""
    used = fail("deployments", "GPU(s) 0 belong to the running deployment a", "tpdeploy stop")
    monkeypatch.setattr(allreduce, "taken", lambda _: iter([used]))
    found = tried(python, gpus)
    assert (found.verdict, found.remedy) == ("warning", "tpdeploy stop")
    assert "not tried" in found.seen


def test_the_groups_are_those_of_the_plan() -> None:
    """One for each stage of each replica, and none that spans machines."""
    plan = plan_for("8xH100", tensor=4)
    assert device_groups(plan) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    far = plan.placement[0].model_copy(update={"nodes": (0, 0, 1, 1)})
    spanning = plan.model_copy(update={"placement": (far, plan.placement[1])})
    assert device_groups(spanning) == [[4, 5, 6, 7]]
    assert core_groups(plan_for("1xCPU", model="smollm2")) == []
