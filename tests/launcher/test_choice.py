"""A name is needed only where there is a choice."""

from pathlib import Path

import pytest

from tests.cli.commands import answered, refused
from tests.launcher.machine import Machine
from tpdeploy.launcher import state
from tpdeploy.launcher.choice import chosen
from tpdeploy.launcher.runtimes.member import Member
from tpdeploy.launcher.runtimes.processes import this_process
from tpdeploy.launcher.state import Deployment


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TPDEPLOY_HOME", str(tmp_path))
    return tmp_path


def deployed(name: str, *, running: bool) -> None:
    state.save(
        Deployment(
            name=name,
            model="m",
            backend="vllm",
            url="http://127.0.0.1:9",
            phase="ready" if running else "stopped",
            supervisor=this_process() if running else None,
            members=(Member(label="front", port=9),),
        )
    )
    log = state.log_of(name, "front")
    log.parent.mkdir()
    log.write_text(f"I am {name}\n")


@pytest.mark.usefixtures("home")
def test_the_only_one_that_runs_is_meant() -> None:
    """Others may have run before; a name that is given counts as it is."""
    deployed("old", running=False)
    deployed("one", running=True)
    assert chosen(None) == chosen(None, ended=True) == "one"
    assert chosen("old") == "old"


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    "command", [("stop",), ("query", "x"), ("validate",), ("logs",)], ids=lambda words: words[0]
)
def test_of_several_one_must_be_named(command: tuple[str, ...]) -> None:
    """Every command refuses in the same words, and names them."""
    deployed("one", running=True)
    deployed("two", running=True)
    assert refused(*command) == ("Error: several deployments are running: one, two; add --name")


@pytest.mark.usefixtures("home")
def test_of_none_there_is_nothing_to_choose() -> None:
    """But the logs of the last one are there to be read."""
    assert refused("stop") == "Error: no deployment is running; start one: tpdeploy launch"
    assert refused("logs") == "Error: no deployment is running; start one: tpdeploy launch"
    deployed("old", running=False)
    deployed("last", running=False)
    assert "no deployment is running" in refused("query", "x")
    assert answered("logs") == "front | I am last\n"


@pytest.mark.processes
def test_one_of_two_goes_and_the_other_is_meant(machine: Machine) -> None:
    """stop, with a name while there are two, and without for the last one."""
    machine.plan()
    machine.launched("--name", "a")
    machine.launched("--name", "b")
    done = machine.run("stop")
    assert (done.returncode, "running: a, b; add --name" in done.stderr) == (2, True)
    assert machine.run("stop", "--name", "a").returncode == 0
    assert "Stopped b:" in machine.run("stop").stdout
    told = machine.run("logs").stdout
    assert "replica-0  | STAGE loading" in told
    assert '\nfront      | {"level":"warn"' in told
