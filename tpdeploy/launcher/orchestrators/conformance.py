"""What every orchestrator has to keep to, as a test class that its author inherits.

    from tpdeploy.launcher.orchestrators.conformance import OrchestratorConformance

    class TestMine(OrchestratorConformance):
        @pytest.fixture
        def task(self):
            return Task(plan, load_backend("vllm"), Order(name="trial", on="mine:test", ...))

A cluster has to answer, which may be a stand-in. Needs pytest, which tpdeploy itself does not.
"""

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, NoReturn
from urllib.parse import urlsplit

import psutil
import pytest

from tpdeploy.errors import InputError, TpdeployError
from tpdeploy.launcher.access import API_KEY, INNER_KEY
from tpdeploy.launcher.orchestrators.base import Orchestrator, Task, View
from tpdeploy.launcher.orchestrators.registry import orchestrator_for

SECRET = "a-secret-that-nobody-sees"  # noqa: S105 - it is looked for where it must not be
ENDED = frozenset({"stopped", "failed"})


@dataclass
class Trial:
    """An orchestrator and a task for it; remembers what was submitted.

    Every question about what was submitted goes to another instance, as from another command.
    """

    task: Task
    folder: Path
    orchestrator: Orchestrator
    submitted: list[str] = field(default_factory=list)

    @property
    def keys(self) -> dict[str, str]:
        """What the deployment is given that nobody else may see."""
        return {INNER_KEY: f"{SECRET}-inner", API_KEY: SECRET}

    @property
    def manifest(self) -> Path:
        """Where the manifest is handed over."""
        return self.folder / "manifest.yaml"

    def submit(self) -> str:
        """Hand the task over; its reference."""
        self.manifest.write_text(self.orchestrator.render(self.task).text, encoding="utf-8")
        self.submitted.append(self.orchestrator.submit(self.task, self.manifest, self.keys))
        return self.submitted[-1]

    @property
    def later(self) -> Orchestrator:
        """What another command asks."""
        return type(self.orchestrator)()

    def observed(self) -> View:
        """How what was submitted last is."""
        return self.later.observe(self.submitted[-1])


def _refuse(*_: object, **__: object) -> NoReturn:
    raise AssertionError("it asks somebody")


class OrchestratorConformance:
    """Inherit, and give fixtures `task`, `impossible` and `cut_off`."""

    timeout_s: ClassVar[float] = 300.0  # for whatever has to happen in the end

    @pytest.fixture
    def task(self) -> Task:
        """A task that the cluster takes; `on` of its order names the orchestrator under test."""
        pytest.fail("give a fixture called task")

    @pytest.fixture
    def impossible(self) -> Task:
        """A task that the orchestrator cannot run, whatever the cluster."""
        pytest.fail("give a fixture called impossible")

    @pytest.fixture
    def cut_off(self) -> Callable[[], None]:
        """After this is called the cluster does not answer, until the test is over."""
        pytest.fail("give a fixture called cut_off")

    @pytest.fixture
    def trial(self, task: Task, tmp_path: Path) -> Iterator[Trial]:
        """The orchestrator under test; what was submitted is ended, if the cluster answers."""
        found = orchestrator_for(task.order.on)
        assert found is not None, f"--on {task.order.on} names a runtime"
        made = Trial(task, tmp_path, found)
        yield made
        for reference in made.submitted:
            try:
                made.later.stop(reference)
            except TpdeployError as error:
                print(error)

    def ready(self, trial: Trial) -> str:
        """The reference of a deployment that serves."""
        reference = trial.submit()
        deadline = time.monotonic() + self.timeout_s
        while (view := trial.observed()).phase != "ready":
            assert view.phase not in ENDED, view.reason
            assert time.monotonic() < deadline, f"not ready in {self.timeout_s:.0f} s: {view}"
            time.sleep(0.05)
        return reference

    def test_it_is_found_by_the_name_that_it_bears(self, trial: Trial) -> None:
        """By its entry point, whatever follows the colon."""
        assert trial.task.order.on.partition(":")[0] == trial.orchestrator.name

    def test_rendering_asks_nobody(self, trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
        """Neither a program nor the network, and it says the same each time."""
        monkeypatch.setattr(subprocess, "Popen", _refuse)
        monkeypatch.setattr(socket.socket, "connect", _refuse)
        trial.orchestrator.check_plan(trial.task)
        manifest = trial.orchestrator.render(trial.task)
        assert manifest.text.strip()
        assert manifest == trial.later.render(trial.task)
        assert all("\n" not in note for note in manifest.notes)

    def test_no_key_is_in_the_manifest_or_the_reference(
        self, trial: Trial, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whoever reads the state or the file learns none."""
        for name in (API_KEY, INNER_KEY, "HF_TOKEN"):
            monkeypatch.setenv(name, SECRET)
        reference = trial.submit()
        assert SECRET not in reference
        assert "\n" not in reference
        assert SECRET not in trial.manifest.read_text(encoding="utf-8")

    def test_what_it_cannot_run_is_refused(self, trial: Trial, impossible: Task) -> None:
        """By `check_plan`, in words for the user, before anybody is asked."""
        with pytest.raises(InputError):
            trial.orchestrator.check_plan(impossible)

    def test_it_serves_in_the_end_and_each_member_does(self, trial: Trial) -> None:
        """With every replica of the plan, under names that tell them apart."""
        trial.orchestrator.check(trial.task)
        self.ready(trial)
        labels = [member.label for member in trial.observed().members]
        assert len(labels) == len(set(labels))
        assert {f"replica-{p.replica}" for p in trial.task.plan.placement} <= set(labels)
        assert {member.phase for member in trial.observed().members} == {"ready"}

    def test_clients_find_it(self, trial: Trial) -> None:
        """At a URL of its own, and from here by one for as long as the context lasts."""
        reference = self.ready(trial)
        told = urlsplit(trial.later.endpoint(reference, trial.task.order))
        assert told.scheme in {"http", "https"}
        assert told.hostname
        before = set(psutil.Process().children(recursive=True))
        with trial.later.reach(reference) as url:
            assert urlsplit(url).scheme in {"http", "https"}
            assert urlsplit(url).hostname
        assert set(psutil.Process().children(recursive=True)) <= before

    def test_logs_are_of_all_members_or_of_one(self, trial: Trial) -> None:
        """Line by line; one that it has not is refused."""
        reference = self.ready(trial)
        everything = list(trial.later.logs(reference, None, 5, follow=False))
        assert everything
        assert all("\n" not in line for line in everything)
        assert any("replica-0" in line for line in everything)
        alone = list(trial.later.logs(reference, "replica-0", 1, follow=False))
        assert len(alone) == 1
        with pytest.raises(InputError):
            list(trial.later.logs(reference, "no-such", 5, follow=False))

    def test_a_name_that_is_taken_is_refused(self, trial: Trial) -> None:
        """By `check`, and by `submit` where both were checked before either began."""
        self.ready(trial)
        with pytest.raises(InputError):
            trial.later.check(trial.task)
        with pytest.raises(TpdeployError):
            trial.later.submit(trial.task, trial.manifest, trial.keys)
        assert trial.observed().phase == "ready"

    def test_stopping_leaves_nothing(self, trial: Trial) -> None:
        """Its name is free again, and what has been stopped can be stopped again."""
        reference = self.ready(trial)
        trial.later.stop(reference)
        view = trial.observed()
        assert view.phase in ENDED
        assert not view.members
        trial.later.stop(reference)
        trial.later.check(trial.task)

    def test_a_cluster_that_does_not_answer_is_no_end(
        self, trial: Trial, cut_off: Callable[[], None]
    ) -> None:
        """Whoever asks is told so; nothing is taken for ended that nobody has seen to end."""
        reference = self.ready(trial)
        cut_off()
        with pytest.raises(TpdeployError):
            trial.later.observe(reference)
        with pytest.raises(TpdeployError):
            trial.later.stop(reference)
        with pytest.raises(InputError):
            trial.later.check(trial.task)
