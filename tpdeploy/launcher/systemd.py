"""A deployment as a service of systemd, which starts it at boot and keeps its supervisor alive."""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from tpdeploy.errors import InputError, TpdeployError
from tpdeploy.files import data_home, write_whole
from tpdeploy.launcher import state
from tpdeploy.launcher.access import API_KEY, client_key
from tpdeploy.launcher.commands import Order
from tpdeploy.launcher.runtimes.processes import Leader
from tpdeploy.launcher.told import told

Scope = Literal["user", "system"]
FOLDERS = {"user": Path("~/.config/systemd/user"), "system": Path("/etc/systemd/system")}
# Handed on to the service, which sees nothing else of this environment. No secret is among them.
HANDED_ON = (
    *("PATH", "LD_LIBRARY_PATH", "HF_HOME", "HF_ENDPOINT", "HF_HUB_OFFLINE"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "CUDA_VISIBLE_DEVICES"),
)
# Beyond the time that its replicas have to start, and to end.
MARGIN_S = 60
# The supervisor says that it lives five times a second.
WATCHDOG_S = 60
COMMAND_TIMEOUT_S = 120.0
POLL_S = 0.2
UNIT = """\
[Unit]
Description=tpdeploy {name}: {model}
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=3600
StartLimitBurst=5

[Service]
Type=notify
ExecStart={command}
{environment}
{credential}WatchdogSec={watchdog}
TimeoutStartSec={start}
TimeoutStopSec={margin}
# Its engines survive a supervisor that is killed, and the next one takes them over.
KillMode=process
Restart=on-failure
RestartSec=5
RestartPreventExitStatus={bad_input}
LimitNOFILE=1048576

[Install]
WantedBy={target}
"""


def unit_name(name: str) -> str:
    """Of the service of the deployment called `name`."""
    return f"tpdeploy-{name}.service"


def unit(order: Order, model: str, scope: Scope) -> str:
    """The unit file of a deployment of `model`."""
    argv = [sys.executable, "-m", "tpdeploy", "supervise", "--name", order.name]
    handed = {name: os.environ[name] for name in HANDED_ON if name in os.environ}
    handed["TPDEPLOY_HOME"] = str(data_home().absolute())
    key = f"LoadCredential={API_KEY}:{_escaped(str(_key_file(order.name)))}\n"
    return UNIT.format(
        name=_escaped(order.name),
        model=_escaped(model),
        command=" ".join(_quoted(word) for word in argv).replace("$", "$$"),
        environment="\n".join(f"Environment={_quoted(f'{k}={v}')}" for k, v in handed.items()),
        credential=key if order.keyed else "",
        watchdog=WATCHDOG_S,
        start=int(order.startup_timeout_s) + MARGIN_S,
        margin=MARGIN_S,
        bad_input=InputError.exit_code,
        target="default.target" if scope == "user" else "multi-user.target",
    )


def install(order: Order, model: str, scope: Scope) -> Path:
    """Write the unit of a deployment whose plan and order are in place, verify, enable and start.

    Returns at once, with the path of the unit.

    Raises:
        InputError: systemd is not there, or the folder of units may not be written.
        TpdeployError: systemd refuses it.
    """
    text = unit(order, model, scope)
    path = FOLDERS[scope].expanduser() / unit_name(order.name)
    with tempfile.TemporaryDirectory() as folder:
        tried = Path(folder) / path.name
        tried.write_text(text)
        _run(["systemd-analyze", "verify", f"--{scope}", str(tried)], quiet=True)
    if key := client_key():
        write_whole(_key_file(order.name), key)
    write_whole(path, text)
    where = [] if scope == "system" else ["--user"]
    _run(["systemctl", *where, "daemon-reload"])
    _run(["systemctl", *where, "enable", "--now", "--no-block", path.name])
    return path


def started(name: str) -> Leader:
    """The supervisor of the deployment called `name`, as soon as systemd has started it.

    Raises:
        TpdeployError: it has not.
    """
    deadline = time.monotonic() + COMMAND_TIMEOUT_S
    while time.monotonic() < deadline:
        deployment = state.load(name)
        if deployment and deployment.supervisor:
            return deployment.supervisor
        time.sleep(POLL_S)
    raise TpdeployError(f"the service did not start; see: journalctl -u {unit_name(name)}")


def _key_file(name: str) -> Path:
    return state.folder_of(name) / "client-key"


def _run(argv: Sequence[str], *, quiet: bool = False) -> None:
    """Run a command of systemd; `quiet`: what it writes is an error too."""
    if shutil.which(argv[0]) is None:
        raise InputError(f"--systemd needs {argv[0]}, which this machine has not")
    done = told(argv, COMMAND_TIMEOUT_S)
    said = done.stderr.strip()
    if done.returncode or (quiet and said):
        raise TpdeployError(f"{' '.join(argv[:3])}: {said or f'exit code {done.returncode}'}")


def _quoted(word: str) -> str:
    """As one word of a unit file (systemd.syntax(7))."""
    inner = _escaped(word).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{inner}"'


def _escaped(text: str) -> str:
    """Without specifiers, on one line."""
    return " ".join(text.split()).replace("%", "%%")
