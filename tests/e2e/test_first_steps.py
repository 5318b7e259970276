"""The commands of docs/start/cpu.md, one after another as a reader types them, with real vLLM."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.commands import stop, tpdeploy
from tpdeploy.errors import InputError
from tpdeploy.launcher.small_model import engine_python, prepare_smollm2
from tpdeploy.launcher.state import running_endpoint

pytestmark = pytest.mark.engine

PAGE = Path(__file__).parents[2] / "docs" / "start" / "cpu.md"
NAMED = "smollm2-135m-instruct"


@pytest.fixture
def _stopped() -> Iterator[None]:
    yield
    stop("default")


@pytest.mark.usefixtures("_stopped")
def test_the_first_steps_lead_to_an_answer_and_a_measurement() -> None:
    """Each command ends well. The model is a folder, fetched without the hub."""
    steps, _, _ = PAGE.read_text(encoding="utf-8").partition("## The same in one command")
    lines = re.findall(r"^(?:\$ )?tpdeploy (.+)$", steps, re.MULTILINE)
    commands = [line for line in lines if not line.startswith("backends")]
    assert [command.split()[0] for command in commands] == [
        *("plan", "launch", "status", "query", "validate", "stop")
    ]
    folder = str(prepare_smollm2(engine_python()))
    said = {}
    for command in commands:
        said[command.split()[0]] = tpdeploy(*shlex.split(command.replace(NAMED, folder)))
    assert "Paris" in said["query"]
    assert "Verdict: no target" in said["validate"]
    assert "no process and no port of it is left" in said["stop"]
    with pytest.raises(InputError, match="no deployment"):
        running_endpoint("default")
