"""What every orchestrator promises, kept by Kubernetes and Ray, and broken ones caught."""

import secrets
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.launcher.orchestrators.cluster import Cluster
from tests.launcher.standin_ray import StandInRay
from tpdeploy.backends.registry import load_backend
from tpdeploy.errors import InputError, TpdeployError, nearest
from tpdeploy.launcher.commands import Order
from tpdeploy.launcher.orchestrators.base import Manifest, Orchestrator, Task, View
from tpdeploy.launcher.orchestrators.conformance import SECRET, OrchestratorConformance, Trial
from tpdeploy.launcher.runtimes.member import Member
from tpdeploy.planner.plan import DeploymentPlan


def task_for(plan: DeploymentPlan, on: str, port: int = 8000) -> Task:
    order = Order(
        name="trial", backend="vllm", host="127.0.0.1", port=port, startup_timeout_s=60, on=on
    )
    return Task(plan, load_backend("vllm"), order)


def with_order(task: Task, **changed: Any) -> Task:
    return replace(task, order=task.order.model_copy(update=changed))


@pytest.mark.processes
class TestKubernetes(OrchestratorConformance):
    """By the stand-in for kubectl."""

    @pytest.fixture
    def task(
        self, cluster: Cluster, one_machine_each: DeploymentPlan, monkeypatch: pytest.MonkeyPatch
    ) -> Task:
        for name, value in cluster.variables.items():
            monkeypatch.setenv(name, value)
        cluster.set("endpoint", "9")  # nobody connects
        return task_for(one_machine_each, "kubernetes:production")

    @pytest.fixture
    def impossible(self, task: Task) -> Task:
        return with_order(task, executable=Path("/bin/vllm"))

    @pytest.fixture
    def cut_off(self, cluster: Cluster) -> Callable[[], None]:
        return lambda: cluster.set("unreachable")


class TestRay(OrchestratorConformance):
    """By the stand-in for a dashboard."""

    @pytest.fixture
    def ray(self) -> Iterator[StandInRay]:
        made = StandInRay()
        made.states = ["RUNNING", "RUNNING"]
        yield made
        made.server.shutdown()
        made.server.server_close()

    @pytest.fixture
    def task(self, ray: StandInRay, one_machine_each: DeploymentPlan) -> Task:
        return task_for(one_machine_each, f"ray:127.0.0.1:{ray.port}", ray.port)

    @pytest.fixture
    def impossible(self, task: Task) -> Task:
        return with_order(task, container="image")

    @pytest.fixture
    def cut_off(self, ray: StandInRay) -> Callable[[], None]:
        def close() -> None:
            ray.server.shutdown()
            ray.server.server_close()

        return close


class InMemory(Orchestrator):
    """One that keeps every promise, without a cluster; broken ones differ from it in a point."""

    name: ClassVar[str] = "ray"  # one that is registered
    running: ClassVar[dict[str, Task]] = {}
    reachable: ClassVar[bool] = True

    def check_plan(self, task: Task) -> None:
        if task.order.container:
            raise InputError("no containers")

    def check(self, task: Task) -> None:
        try:
            self._look(task.order.name)
        except TpdeployError as error:
            raise InputError(str(error)) from error
        if task.order.name in self.running:
            raise InputError("that name is taken")

    def render(self, task: Task) -> Manifest:
        return Manifest(f"name: {task.order.name}\n")

    def submit(self, task: Task, manifest: Path, keys: Mapping[str, str]) -> str:
        if task.order.name in self.running:
            raise TpdeployError("that name is taken")
        self.running[task.order.name] = task
        return task.order.name

    def observe(self, reference: str) -> View:
        task = self._look(reference)
        if task is None:
            return View("stopped")
        labels = [f"replica-{place.replica}" for place in task.plan.placement]
        members = [
            Member(label=label, runtime=self.name, port=0, phase="ready") for label in labels
        ]
        return View("ready", members=tuple(members))

    @contextmanager
    def reach(self, reference: str) -> Iterator[str]:
        yield "http://127.0.0.1:1"

    def logs(
        self, reference: str, member: str | None, lines: int, *, follow: bool
    ) -> Iterator[str]:
        labels = [each.label for each in self.observe(reference).members]
        if member not in {None, *labels}:
            raise InputError(nearest(str(member), labels))
        yield from (f"{label} | begun" for label in labels if member in {None, label})

    def stop(self, reference: str) -> None:
        self._look(reference)
        self.running.pop(reference, None)

    def _look(self, reference: str) -> Task | None:
        if not self.reachable:
            raise TpdeployError("the cluster does not answer")
        return self.running.get(reference)


def _member(label: str) -> Member:
    return Member(label=label, runtime="memory", port=0, phase="ready")


class Random(InMemory):
    """Its manifest differs each time."""

    def render(self, task: Task) -> Manifest:
        return Manifest(f"id: {secrets.token_hex()}\n")


class Asking(InMemory):
    """Its manifest depends on what the network says."""

    def render(self, task: Task) -> Manifest:
        socket.create_connection(("127.0.0.1", 1))
        return super().render(task)


class Telling(InMemory):
    """Its reference is a key."""

    def submit(self, task: Task, manifest: Path, keys: Mapping[str, str]) -> str:
        super().submit(task, manifest, keys)
        self.running[SECRET] = task
        return next(value for value in keys.values() if value == SECRET)


class TakingAll(InMemory):
    """It finds out later what it cannot do."""

    def check_plan(self, task: Task) -> None:
        return


class Nameless(InMemory):
    """Its members have one name."""

    def observe(self, reference: str) -> View:
        view = super().observe(reference)
        same = tuple(each.model_copy(update={"label": "replica-0"}) for each in view.members)
        return replace(view, members=same)


class Forgetful(InMemory):
    """What it runs only the process knows that submitted it."""

    def __init__(self) -> None:
        self.__dict__["running"] = {}


class Replacing(InMemory):
    """Who comes last takes the name."""

    def submit(self, task: Task, manifest: Path, keys: Mapping[str, str]) -> str:
        self.running[task.order.name] = task
        return task.order.name


class Mute(InMemory):
    """It has no logs."""

    def logs(
        self, reference: str, member: str | None, lines: int, *, follow: bool
    ) -> Iterator[str]:
        yield from ()


class Leaving(InMemory):
    """It only says that it stops."""

    def stop(self, reference: str) -> None:
        self._look(reference)


class Confident(InMemory):
    """Whom it does not see has ended."""

    def observe(self, reference: str) -> View:
        try:
            return super().observe(reference)
        except TpdeployError:
            return View("stopped")


BROKEN = [
    (Random, "rendering_asks_nobody"),
    (Asking, "rendering_asks_nobody"),
    (Telling, "no_key_is_in_the_manifest_or_the_reference"),
    (TakingAll, "what_it_cannot_run_is_refused"),
    (Nameless, "it_serves_in_the_end_and_each_member_does"),
    (Forgetful, "it_serves_in_the_end_and_each_member_does"),
    (Replacing, "a_name_that_is_taken_is_refused"),
    (Mute, "logs_are_of_all_members_or_of_one"),
    (Leaving, "stopping_leaves_nothing"),
    (Confident, "a_cluster_that_does_not_answer_is_no_end"),
]


@pytest.mark.parametrize(("broken", "test"), BROKEN)
def test_a_broken_orchestrator_is_caught(
    broken: type[InMemory],
    test: str,
    one_machine_each: DeploymentPlan,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The test fails for one that breaks what it promises, and not for one that keeps it."""
    task = task_for(one_machine_each, "ray")
    wanted = {
        "impossible": with_order(task, container="image"),
        "cut_off": lambda: monkeypatch.setattr(InMemory, "reachable", False),
        "monkeypatch": monkeypatch,
    }
    held = getattr(OrchestratorConformance(), f"test_{test}")
    names = held.__code__.co_varnames[1 : held.__code__.co_argcount]
    for kind in (InMemory, broken):
        monkeypatch.setattr(InMemory, "running", {})
        monkeypatch.setattr(InMemory, "reachable", True)
        trial = Trial(task, tmp_path, kind())
        given = {"trial": trial} | {name: wanted[name] for name in names if name in wanted}
        if kind is InMemory:
            held(**given)
        else:
            with pytest.raises((AssertionError, pytest.fail.Exception)):
                held(**given)
        monkeypatch.undo()
