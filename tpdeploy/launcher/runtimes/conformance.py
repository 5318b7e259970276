"""What every runtime has to keep to, as a test class that its author inherits.

    from tpdeploy.launcher.runtimes.conformance import RuntimeConformance

    class TestMine(RuntimeConformance):
        @pytest.fixture
        def engine(self):
            return Engine(load_backend("vllm"), "cpu", executable=PYTHON, on="mine")

The engine's program is a Python, there where the runtime starts it: small programs take the place
of servers. Needs pytest, which tpdeploy itself does not.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest

from tpdeploy.backends.base import Command
from tpdeploy.launcher.runtimes.base import Engine, Parts, Rendered, Replica, Runtime
from tpdeploy.launcher.runtimes.member import Member
from tpdeploy.launcher.runtimes.registry import by_runtime, runtime_for, runtime_of
from tpdeploy.planner.plan import Placement

FILE = "told.txt"
TELL = "import os, sys, time; print('begun', flush=True); "
SLEEP = TELL + "time.sleep(600)"
READ = "print(open(sys.argv[1]).read(), os.environ['SAID'], os.environ[{key!r}], flush=True); "
# Neither it nor what it starts listens to reason.
DEAF = """\
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
while True:
    print("beat", flush=True)
    time.sleep(0.2)
"""
DEAF_PAIR = (
    f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {DEAF!r}]); exec({DEAF!r})"
)


@dataclass
class Trial:
    """A runtime, an engine for it, and the folder of a deployment; remembers what it started."""

    engine: Engine
    deployment: Path
    runtime: Runtime
    devices: tuple[int, ...] = (0,)
    started: list[Member] = field(default_factory=list)

    @property
    def log(self) -> Path:
        """What a started member writes."""
        return self.deployment / "logs" / "replica-0.log"

    @property
    def key(self) -> str:
        """The variable in which a secret is handed over."""
        return self.engine.backend.api_key_variable or "TPDEPLOY_ENGINE_KEY"

    def render(self, program: str, at_port: int | None = None, /, **env: str) -> Rendered:
        """A member that runs a Python program, whose argument is the path of a file."""
        place = Placement(replica=0, devices=self.devices)
        replica = Replica(place, self.engine, self.deployment / "replica-0")
        site = self.runtime.site(replica)
        argv = ("python", "-c", program, f"{site.folder}/{FILE}")
        command = Command(argv, env, files={FILE: "in the file\n"})
        port = at_port or (int(site.port) if site.port.isdecimal() else 0)
        member = Member(label="replica-0", runtime=self.runtime.name, host=site.host, port=port)
        return self.runtime.render(replica, member, Parts(command))

    def start(self, program: str, at_port: int | None = None, /, **keys: str) -> Member:
        """Start such a member."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        rendered = self.render(program, at_port, SAID="by a variable")
        self.started.append(self.runtime.start(rendered, keys, self.log))
        return self.started[-1]

    def written(self) -> str:
        """What is in the log by now."""
        return self.log.read_text() if self.log.exists() else ""


def kept(member: Member) -> Member:
    """As another command reads it from the state."""
    return Member.model_validate_json(member.model_dump_json())


class RuntimeConformance:
    """Inherit, and give a fixture `engine`."""

    timeout_s: ClassVar[float] = 60.0  # for whatever has to happen in the end

    @pytest.fixture
    def engine(self) -> Engine:
        """An engine whose program is a Python; its `on` names the runtime under test."""
        pytest.fail("give a fixture called engine")

    @pytest.fixture
    def trial(self, engine: Engine, tmp_path: Path) -> Iterator[Trial]:
        """The runtime under test; what it has started is ended."""
        made = Trial(engine, tmp_path / "deployments" / "default", runtime_for(engine))
        yield made
        if made.started:
            made.runtime.stop(made.started, grace_s=0)

    def eventually(self, holds: Callable[[], bool]) -> None:
        """Wait for something that is about to happen."""
        deadline = time.monotonic() + self.timeout_s
        while not holds():
            assert time.monotonic() < deadline, f"it did not happen within {self.timeout_s:.0f} s"
            time.sleep(0.1)

    def test_rendering_changes_nothing(self, trial: Trial) -> None:
        """A member that was only rendered does not run, and can be stopped."""
        rendered = trial.render(SLEEP)
        assert rendered.argv
        assert not trial.deployment.exists()
        assert not trial.runtime.observe(rendered.member).runs
        assert not trial.runtime.left([rendered.member])
        trial.runtime.stop([rendered.member], grace_s=0)

    def test_the_record_tells_which_runtime_has_a_member(self, trial: Trial) -> None:
        """From before it is started, so that whatever happens it is found and ended."""
        member = kept(trial.render(SLEEP).member)
        assert type(runtime_of(member)) is type(trial.runtime)
        ((runtime, members),) = by_runtime([member, member])
        assert type(runtime) is type(trial.runtime)
        assert members == [member, member]

    def test_a_member_has_its_files_variables_and_log(self, trial: Trial) -> None:
        """Keys reach it as well, and neither its record nor what starts it holds them."""
        member = trial.start(TELL + READ.format(key=trial.key) + SLEEP, **{trial.key: "secret"})
        self.eventually(lambda: "in the file\n by a variable secret" in trial.written())
        assert trial.runtime.observe(member).runs
        rendered = trial.render(SLEEP)
        assert "secret" not in f"{member.model_dump_json()}{rendered.argv}{rendered.files}"

    def test_how_a_member_ended_is_told(self, trial: Trial) -> None:
        """Its exit code, however often it is asked for, until it is stopped."""
        member = trial.start(TELL + "sys.exit(3)")
        self.eventually(lambda: not trial.runtime.observe(member).runs)
        ends = [trial.runtime.observe(member).end for _ in range(2)]
        assert ends == ["ended with code 3"] * 2

    def test_another_process_can_observe_and_stop_it(self, trial: Trial) -> None:
        """All that it takes is in the record; what has been stopped can be stopped again."""
        record = kept(trial.start(SLEEP))
        self.eventually(lambda: "begun" in trial.written())
        other = type(trial.runtime)()
        assert other.observe(record).runs
        assert other.left([record])
        other.stop([record], grace_s=5)
        assert not other.left([record])
        assert not other.observe(record).runs
        other.stop([record], grace_s=0)

    def test_stopping_ends_all_that_it_started(self, trial: Trial) -> None:
        """Also what does not listen to reason, as engines are while they start."""
        member = trial.start(DEAF_PAIR)
        self.eventually(lambda: trial.written().count("beat") > 3)
        trial.runtime.stop([member], grace_s=0.2)
        assert not trial.runtime.left([member])
        length = len(trial.written())
        time.sleep(1)
        assert len(trial.written()) == length
