"""Real ssh: a server on each host, and a client that knows them and has a key."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import Popen

from tests.cluster.hosts import SBIN, Host

SERVER = """\
Port 22
HostKey {folder}/host-key
AuthorizedKeysFile {folder}/key.pub
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
SetEnv {variables}
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
    told = " ".join(f'"{name}={value}"' for name, value in variables.items())
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
        yield own
