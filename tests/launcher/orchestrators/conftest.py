"""A cluster for each test, and plans for it."""

from pathlib import Path

import pytest

from tests.launcher.orchestrators.cluster import Cluster
from tests.launcher.orchestrators.plans import planned
from tpdeploy.launcher import submission
from tpdeploy.planner.plan import DeploymentPlan


@pytest.fixture(scope="session")
def one_machine_each() -> DeploymentPlan:
    """Two replicas, each on the eight GPUs of a machine."""
    return planned("llama-70b", "2x8xH100", tensor=8, replicas=2)


@pytest.fixture(scope="session")
def two_machines() -> DeploymentPlan:
    """A replica over two machines."""
    return planned("deepseek-r1", "2x8xH200", tensor=8, pipeline=2)


@pytest.fixture(scope="session")
def two_trays() -> DeploymentPlan:
    """A replica whose layers are divided over two trays of an NVL72."""
    return planned("llama-405b", "2x4xGB200", tensor=8)


@pytest.fixture
def cluster(
    tmp_path: Path, one_machine_each: DeploymentPlan, monkeypatch: pytest.MonkeyPatch
) -> Cluster:
    """A cluster that takes two replicas."""
    monkeypatch.setattr(submission, "LOOK_EVERY_S", 0.01)
    made = Cluster(tmp_path / "cluster", tmp_path / "home")
    made.plan(one_machine_each)
    return made
