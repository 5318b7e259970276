"""Real ssh: a server on each host, and a client that knows them and has a key."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import Popen

from tests.cluster.hosts import SBIN, Host

READY_TIMEOUT_S = 30.0
SERVER = """\
Port 22
HostKey {folder}/host-key
AuthorizedKeysFile {folder}/key.pub
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
{variables}
"""
CLIENT = """\
IdentityFile {folder}/key
UserKnownHostsFile {folder}/known
StrictHostKeyChecking accept-new
"""


@contextmanager
def sshd(hosts: Sequence[Host], folder: Path, variables: dict[str, str]) -> Iterator[Path]:
    """The folder with the `ssh` to be used; `variables` are set for whoever comes in."""
    Path("/run/sshd").mkdir(exist_ok=True)
    for name in ("host-key", "key"):
        making = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(making, check=True)
    told = "".join(f'SetEnv "{name}={value}"' for name, value in variables.items())
    (folder / "server").write_text(SERVER.format(folder=folder, variables=told))
    (folder / "client").write_text(CLIENT.format(folder=folder))
    own = folder / "bin"
    own.mkdir()
    ssh = own / "ssh"
    ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/client "$@"\n')
    ssh.chmod(0o755)
    program = shutil.which("sshd", path=f"{os.environ['PATH']}:{SBIN}")
    with ExitStack() as ends:
        for host in hosts:
            server = host.command([str(program), "-D", "-e", "-f", str(folder / "server")])
            process = Popen(server, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            ends.callback(process.wait)
            ends.callback(process.terminate)
            _wait_until_it_listens(host)
        yield own


def _wait_until_it_listens(host: Host) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while host.run("bash", "-c", f"< /dev/tcp/{host.address}/22").returncode:
        assert time.monotonic() < deadline, f"sshd does not come up on {host.name}"
        time.sleep(0.1)
