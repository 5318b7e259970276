"""Machines on this machine: network namespaces, each with a name, an address and names of its own.

They share processes and files, as machines share a file system; nothing leaves them.
"""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

import psutil

from tests.left_out import leave_out

# What the tests of several machines need, and the Debian packages that bring it.
NEEDS = {
    "ip": "iproute2",
    "nsenter": "util-linux",
    "sbatch": "slurm-client",
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "munged": "munge",
    "sshd": "openssh-server",
    "ssh": "openssh-client",
}
SBIN = "/usr/sbin:/sbin"
ENTER = 'hostname "$0"; mount --bind "$HOSTS_FILE" /etc/hosts; exec "$@"'


@dataclass(frozen=True)
class Host:
    """A machine with a name and an address, which programs are started on."""

    name: str
    address: str
    namespace: str
    hosts_file: Path

    def command(self, argv: Sequence[str]) -> list[str]:
        """`argv`, as it is run there."""
        enter = ["nsenter", f"--net=/run/netns/{self.namespace}", "unshare", "--mount", "--uts"]
        variable = f"HOSTS_FILE={self.hosts_file}"
        return ["env", variable, *enter, "bash", "-c", ENTER, self.name, *argv]

    def run(self, *argv: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """What a program says there."""
        return subprocess.run(
            self.command(argv),
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **variables},
        )

    def processes(self) -> list[psutil.Process]:
        """Those that run there, whoever started them."""
        space = Path("/run/netns", self.namespace).stat().st_ino
        return [each for each in psutil.process_iter() if _namespace_of(each) == space]

    @contextmanager
    def entered(self) -> Iterator[None]:
        """This thread, and the processes that it starts meanwhile, are in its network."""
        library = ctypes.CDLL(None, use_errno=True)
        spaces = Path("/proc/thread-self/ns/net"), Path("/run/netns", self.namespace)
        with spaces[0].open() as own, spaces[1].open() as there:
            for file in (there, own):
                if library.setns(file.fileno(), 0):
                    raise OSError(ctypes.get_errno(), "setns")
                if file is there:
                    yield

    def started(self, *argv: str, **variables: str) -> Popen[bytes]:
        """A program that runs there meanwhile."""
        return Popen(self.command(argv), env={**os.environ, **variables})


def _namespace_of(process: psutil.Process) -> int:
    try:
        return Path(f"/proc/{process.pid}/ns/net").stat().st_ino
    except OSError:
        return 0


def need(*programs: str) -> None:
    """Leave the test out, saying so in one line, if this machine cannot run it; in CI, fail."""
    path = f"{os.environ['PATH']}:{SBIN}"
    missing = [NEEDS[name] for name in programs if not shutil.which(name, path=path)]
    why = f"apt-get install {' '.join(missing)}" if missing else ""
    if os.geteuid() != 0:
        why = "needs root, to make network namespaces"
    if why:
        leave_out(f"several machines: {why}")


@contextmanager
def hosts(count: int, folder: Path) -> Iterator[list[Host]]:
    """`count` machines h0, h1 … at 10.77.0.1, 10.77.0.2 …

    As Debian has it, each takes its own name for an address of its loopback.
    """
    mark = f"t{os.getpid() % 100000}"
    made = [
        Host(f"h{n}", f"10.77.0.{n + 1}", f"{mark}h{n}", folder / f"hosts-{n}")
        for n in range(count)
    ]
    with ExitStack() as ends:
        _namespace(f"{mark}sw", ends)
        _ip(f"-n {mark}sw link add br0 type bridge")
        _ip(f"-n {mark}sw link set br0 up")
        for number, host in enumerate(made):
            own = {"127.0.0.1": "localhost", "127.0.1.1": host.name}
            known = own | {other.address: other.name for other in made if other is not host}
            host.hosts_file.write_text("".join(f"{a} {name}\n" for a, name in known.items()))
            _namespace(host.namespace, ends)
            here, there = f"{mark}e{number}", f"{mark}p{number}"
            _ip(f"link add {here} type veth peer name {there}")
            _ip(f"link set {here} netns {host.namespace} name eth0")
            _ip(f"link set {there} netns {mark}sw")
            _ip(f"-n {mark}sw link set {there} master br0 up")
            _ip(f"-n {host.namespace} addr add {host.address}/24 dev eth0")
            _ip(f"-n {host.namespace} link set eth0 up")
            _ip(f"-n {host.namespace} link set lo up")
        yield made


@contextmanager
def cut_off(host: Host) -> Iterator[None]:
    """Its cable is out for as long as the context lasts: no packet leaves it or comes in."""
    _ip(f"-n {host.namespace} link set eth0 down")
    try:
        yield
    finally:
        _ip(f"-n {host.namespace} link set eth0 up")


def _namespace(name: str, ends: ExitStack) -> None:
    _ip(f"netns add {name}")
    ends.callback(_ip, f"netns del {name}")


def _ip(words: str) -> None:
    subprocess.run(["/usr/bin/env", "ip", *words.split()], check=True)
