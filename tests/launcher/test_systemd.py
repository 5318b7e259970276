"""A deployment as a service: the unit is one that systemd takes, and what it starts works."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.launcher.machine import Machine, eventually, launch_arguments, nothing_left
from tpdeploy.launcher.commands import Order
from tpdeploy.launcher.supervision.notify import Manager
from tpdeploy.launcher.systemd import Scope, unit

ORDER = Order(
    name="default", backend="vllm", host="127.0.0.1", port=8000, startup_timeout_s=900, keyed=True
)
# Does what is asked of it by this launch: starts the service, with a socket for what it tells.
SYSTEMCTL = """\
#!{python}
import os, pathlib, shlex, socket, subprocess, sys
home = pathlib.Path(os.environ["TPDEPLOY_HOME"])
with (home / "asked").open("a") as asked:
    asked.write(" ".join(sys.argv[1:]) + "\\n")
if "enable" in sys.argv:
    unit = pathlib.Path("~/.config/systemd/user", sys.argv[-1]).expanduser().read_text()
    values = dict(line.partition("=")[::2] for line in unit.splitlines() if "=" in line)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    env = {{**os.environ, "NOTIFY_SOCKET": str(home / "notify")}}
    if "LoadCredential" in values:
        name, path = values["LoadCredential"].split(":")
        (home / "credentials").mkdir(exist_ok=True)
        (home / "credentials" / name).write_text(pathlib.Path(path).read_text())
        env["CREDENTIALS_DIRECTORY"] = str(home / "credentials")
    env.pop("TPDEPLOY_API_KEY", None)
    subprocess.Popen(shlex.split(values["ExecStart"]), env=env, start_new_session=True,
                     stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
"""


@pytest.mark.parametrize("scope", ["user", "system"])
def test_systemd_takes_the_unit_without_a_word(scope: Scope, tmp_path: Path) -> None:
    """Every key is known to it, and every value; also of a model with unusual characters."""
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed")
    path = tmp_path / "tpdeploy-default.service"
    path.write_text(unit(ORDER, 'a model\n[Service]\nExecStart=/bin/evil "100%" $HOME', scope))
    done = subprocess.run(
        [program, "verify", f"--{scope}", str(path)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = path.read_text().splitlines()
    assert [line for line in lines if line.startswith(("ExecStart", "[Service]"))] == [
        "[Service]",
        f'ExecStart="{sys.executable}" "-m" "tpdeploy" "supervise" "--name" "default"',
    ]
    assert "LoadCredential=TPDEPLOY_API_KEY:" in path.read_text()


def test_a_manager_is_told_and_engines_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is told arrives as one datagram; the variable goes."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        manager = Manager()
        assert "NOTIFY_SOCKET" not in os.environ
        manager.tell("READY=1", "STATUS=ready")
        assert listener.recv(100) == b"READY=1\nSTATUS=ready"
    manager.tell("WATCHDOG=1")  # nobody listens any more
    Manager().tell("READY=1")  # nor ever did


@pytest.mark.processes
def test_a_launch_as_a_service(machine: Machine, tmp_path: Path) -> None:
    """It is enabled, started with its key, says that it is ready, and survives its supervisor."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, text in {"systemctl": SYSTEMCTL, "systemd-analyze": "#!/bin/sh\n"}.items():
        (tools / name).write_text(text.format(python=sys.executable))
        (tools / name).chmod(0o755)
    env = {"HOME": str(tmp_path), "PATH": f"{tools}:{os.environ['PATH']}"}
    machine.plan()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(machine.home / "notify"))
        arguments = launch_arguments("--systemd", "user")
        done = machine.run(*arguments, **env, TPDEPLOY_API_KEY="sk-service")
        assert done.returncode == 0, done.stderr
        told = {manager.recv(500) for _ in range(50)}
    assert any(b"READY=1" in each for each in told)
    assert b"WATCHDOG=1" in told
    unit_file = tmp_path / ".config/systemd/user/tpdeploy-default.service"
    assert "sk-service" not in unit_file.read_text()
    asked = (machine.home / "asked").read_text().splitlines()
    assert asked == [
        "--user daemon-reload",
        "--user enable --now --no-block tpdeploy-default.service",
    ]
    deployment = machine.status()
    assert deployment.supervisor is not None
    os.kill(deployment.supervisor.pid, signal.SIGTERM)
    eventually(lambda: nothing_left(deployment))


@pytest.mark.processes
def test_without_systemd_nothing_is_launched(machine: Machine, tmp_path: Path) -> None:
    """One line, exit code 2."""
    machine.plan()
    done = machine.run(*launch_arguments("--systemd", "user"), PATH=str(tmp_path))
    assert done.returncode == 2
    assert "--systemd needs systemd-analyze, which this machine has not" in done.stderr
