"""`tpdeploy logs -f` goes on: as members write, and over the rotation of their logs."""

import signal
import sys

import httpx
import pytest

from tests.launcher.machine import Machine, eventually, in_foreground
from tpdeploy.launcher.logs import rotate

pytestmark = pytest.mark.processes


def test_what_every_member_writes_is_shown_as_it_is_written(machine: Machine) -> None:
    """With its member, once, also when its log has been cut in between; Ctrl-C ends it."""
    machine.plan(replicas=2)
    deployment = machine.launched()
    replica = machine.home / "deployments" / "default" / "logs" / "replica-0.log"
    shown = machine.home / "followed"
    with shown.open("w") as written:
        command = [sys.executable, "-m", "tpdeploy", "logs", "-f", "-n", "1"]
        following = in_foreground(command, machine, stdout=written.fileno())

        def posted(number: int) -> None:
            """Ask each replica, of which only the path differs, and wait for all to be shown."""
            for member in deployment.members[:2]:
                httpx.post(f"http://127.0.0.1:{member.port}/ask-{number}", trust_env=False)
            for label in ("replica-0", "replica-1"):
                line = f"{label}  | POST /ask-{number} "
                eventually(lambda line=line: shown.read_text().count(line) == 1)  # type: ignore[misc]

        eventually(lambda: shown.read_text() != "")
        posted(1)
        assert rotate(replica, most_bytes=10)
        posted(2)
        posted(3)
        assert all(shown.read_text().count(f"POST /ask-{n} ") == 2 for n in (1, 2, 3))
        following.send_signal(signal.SIGINT)
        following.communicate(timeout=30)
    assert following.returncode == 130
    assert "/ask-1" not in replica.read_text()
    assert "/ask-3" in replica.read_text()
