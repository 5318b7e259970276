"""Replicas over machines that are reached by ssh: `--on ssh:HOST,HOST`, in the plan's order.

One process here runs a replica's parts on all its machines, and ends them together. Nothing is
copied but the commands and files of the plan; the engine has to be there.
"""

import random
import re
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

from tpdeploy import __version__
from tpdeploy.backends.base import Site
from tpdeploy.errors import InputError, TpdeployError, one_line
from tpdeploy.launcher.environments import folder_of
from tpdeploy.launcher.runtimes import script
from tpdeploy.launcher.runtimes.base import Engine, Parts, Rendered, Replica
from tpdeploy.launcher.runtimes.local import Local, seen_devices
from tpdeploy.launcher.runtimes.member import Member
from tpdeploy.launcher.runtimes.ports import is_connected_to
from tpdeploy.launcher.runtimes.remote import END_TIMEOUT_S, SSH
from tpdeploy.launcher.runtimes.script import quoted
from tpdeploy.launcher.told import told
from tpdeploy.planner.plan import DeploymentPlan

MODULE = "tpdeploy.launcher.runtimes.remote"
CHECK_TIMEOUT_S = 30.0
# Below those that Linux gives to connections by itself (ip_local_port_range).
PORTS = range(20000, 32000)
FOLDER, ADDRESS, CPUS, RANK = map(script.late, ("FOLDER", "ADDRESS", "CPUS", "RANK"))
# The files of a part, which no other user sees, and which go with it.
OWN_FOLDER = """\
umask 077
FOLDER=$(mktemp -d)
trap 'rm -rf "$FOLDER"' EXIT
exec 3<&0
"""
# A host that hears nothing for so long takes the launching one for lost; it hears four times as
# often.
SILENCE_S = 60
# The input ends with the connection, whoever has ended it; nothing comes where there is none.
WATCH = """\
{{
    while read -r -t {silence}; do :; done
    kill -TERM -- "-$engine"
    sleep 10
    kill -KILL -- "-$engine"
}} <&3 > /dev/null 2>&1 &
trap 'kill "$!" 2> /dev/null; rm -rf "$FOLDER"' EXIT
"""
# Where its own tpdeploy may be, beside where this one is here.
CLIENT_PATH = f'{quoted(str(Path(sys.executable).parent))}:"$PATH:$HOME/.local/bin"'
SSH_FAILED = 255  # ssh's own exit code where it has not reached the host
HOME = "${TPDEPLOY_HOME:-${XDG_DATA_HOME:-$HOME/.local/share}/tpdeploy}"


@dataclass(frozen=True)
class Host:
    """A machine, as the user names it to ssh, and the address at which others reach it."""

    name: str
    address: str


class Ssh(Local):
    """Starts one process per replica, which starts its parts and ends them together."""

    name: ClassVar[str] = "ssh"
    here: ClassVar[bool] = False

    def check_plan(self, plan: DeploymentPlan, engine: Engine) -> None:
        """There is a host for each machine of the plan, with an address; no MPI, no containers."""
        hosts, machines = hosts_of(engine), plan.cluster.nodes
        if len(hosts) < machines:
            raise InputError(f"--on {engine.on}: the plan has {machines} machines, name each host")
        if engine.image:
            raise InputError("--container with --on ssh: no such; install the engine on each host")
        wide = any(len(place.machines) > 1 for place in plan.placement)
        if wide and engine.backend.joined_by_mpi:
            raise InputError(
                f"{engine.backend.name} joins machines by MPI, which needs a scheduler: --on slurm"
            )

    def check(self, plan: DeploymentPlan, engine: Engine) -> None:
        """Every host answers, has the engine, and shows enough GPUs."""
        first = Replica(plan.placement[0], engine, Path())
        command = engine.backend.render(plan, first.place, self.site(first))
        program = str(engine.executable or command.argv[0])
        for number, host in enumerate(hosts_of(engine)[: plan.cluster.nodes]):
            needed = [device for place in plan.placement for device in place.devices_on(number)]
            _check_host(host, engine, program, 1 + max(needed, default=-1))

    def environment(self, engine: Engine) -> None:
        """It is on the hosts."""
        return

    def run_python(
        self, engine: Engine, arguments: Sequence[str], variables: Mapping[str, str]
    ) -> AbstractContextManager[tuple[str, ...] | None]:
        """Nothing of it runs here."""
        return nullcontext()

    def machines(self, engine: Engine, program: str, devices: int, wanted: int | None) -> int:
        """The hosts that are named, or the first of them; each answers and has the program."""
        hosts = hosts_of(engine)
        if wanted and wanted > len(hosts):
            raise InputError(f"--on {engine.on}: {wanted} machines are asked for, name each host")
        for host in hosts[:wanted]:
            _check_host(host, engine, program, devices)
        return len(hosts[:wanted])

    def client(self, engine: Engine) -> tuple[str, ...]:
        """On the first host, where the same tpdeploy has to be."""
        host, program = hosts_of(engine)[0], f"PATH={CLIENT_PATH} tpdeploy"
        done = _answer(host, f"{program} --version")
        if done.returncode == SSH_FAILED:
            raise InputError(f"{host.name} cannot be reached: {one_line(done.stderr)}")
        if done.stdout.split() != ["tpdeploy", __version__]:
            raise InputError(
                f"{host.name} has no tpdeploy {__version__}, which is to measure there; "
                f"run there: pip install tpdeploy=={__version__}"
            )
        return (*SSH, host.name, f"{program} client")

    def site(self, replica: Replica) -> Site:
        """At the first host's address, on ports that were free there with some luck."""
        place, engine = replica.place, replica.engine
        first = hosts_of(engine)[place.machines[0]]
        port, *spare = map(str, random.sample(PORTS, 1 + engine.backend.spare_ports))
        return Site(
            host=first.address,
            port=port,
            folder=Path(FOLDER),
            spare_ports=tuple(spare),
            devices=place.devices,
            cpus=(CPUS,) if place.cpus else (),
            address=ADDRESS,
            head=first.address,
            rank=RANK,
        )

    def render(self, replica: Replica, member: Member, parts: Parts) -> Rendered:
        """A script for each host, and the process that runs them all."""
        hosts, key = hosts_of(replica.engine), replica.engine.backend.api_key_variable
        argv = [sys.executable, "-m", MODULE, *(["--key", key] if key else [])]
        argv.append(f"--beat={SILENCE_S / 4:g}")
        files = {}
        for rank, machine in enumerate(replica.place.machines):
            path = replica.folder / f"machine-{rank}.sh"
            files[path] = part_script(replica, parts, rank, hosts[machine])
            argv.append(f"{hosts[machine].name}={path}")
        return Rendered(member, tuple(argv), {}, files)

    def listens(self, member: Member) -> bool:
        """Whether it answers: no other user of that machine has our key."""
        return True

    def address(self, member: Member) -> str:
        """That of the first host."""
        return f"http://{member.host}:{member.port}"

    def is_busy(self, member: Member) -> bool:
        """Whether the front has a connection to it."""
        return is_connected_to(member.host, member.port)

    def stop(self, members: Sequence[Member], grace_s: float) -> None:
        """The process here waits until the hosts have ended what runs there."""
        super().stop(members, max(grace_s, END_TIMEOUT_S))


def part_script(replica: Replica, parts: Parts, rank: int, host: Host) -> str:
    """What the host of this rank runs, in bash, until its standard input ends."""
    place, engine = replica.place, replica.engine
    machine = place.machines[rank]
    cores = [
        cpus for cpus, (node, _) in zip(place.cpus, place.ranks, strict=False) if node == machine
    ]
    here = {"ADDRESS": host.address, "RANK": str(rank), "CPUS": "|".join(cores)}
    return "".join(
        (
            "main() {\n",  # read whole before what follows it in the input is waited for
            OWN_FOLDER,
            *(f"{name}={quoted(value)}\n" for name, value in here.items()),
            f"PATH={_search_path(engine)}:$PATH\n",
            script.INTERFACE,
            script.exported(
                {**seen_devices(engine, place.devices_on(machine)), **parts.leader.env}
            ),
            script.written({f"{FOLDER}/{name}": text for name, text in parts.leader.files.items()}),
            script.chosen(script.named(engine, parts), RANK),
            script.START,
            WATCH.format(silence=SILENCE_S),
            script.WAIT,
            "}\nmain\n",
        )
    )


def hosts_of(engine: Engine) -> list[Host]:
    """The hosts that `--on ssh:HOST,HOST` names.

    Raises:
        InputError: none, or one without an address that others could reach.
    """
    names = [name for name in engine.on.partition(":")[2].split(",") if name]
    if not names:
        raise InputError("--on ssh: name the hosts, in the plan's order: --on ssh:HOST,HOST")
    return [Host(name, address_of(name)) for name in names]


@lru_cache
def address_of(name: str) -> str:
    """The IPv4 address of a host that ssh knows as `name`, be it by its own configuration.

    Raises:
        InputError: there is none, or it is this machine's loopback.
    """
    if not re.fullmatch(r"[\w.@%-]+", name) or name.startswith("-"):
        raise InputError(f"--on ssh: {name!r} is no host")
    try:
        known = told([*SSH, "-G", name], CHECK_TIMEOUT_S).stdout
    except TpdeployError as error:
        raise InputError(f"--on ssh: {error}") from error
    lines = dict(line.partition(" ")[::2] for line in known.splitlines())
    try:
        address = socket.getaddrinfo(lines["hostname"], None, socket.AF_INET)[0][4][0]
    except (KeyError, OSError) as error:
        raise InputError(f"--on ssh: {name} has no address: {error}") from error
    if str(address).startswith("127."):
        raise InputError(
            f"--on ssh: {name} is {address}, which only it can reach; name its address"
        )
    return str(address)


def _search_path(engine: Engine) -> str:
    """Where the engine's program is on each host: as the user said, or as tpdeploy installs it."""
    named = engine.executable or engine.python
    if named:
        return quoted(str(named.parent))
    own = folder_of(engine.backend.environment(engine.platform))
    return f'{quoted(str(own / "bin"))}:"{HOME}/environments/{own.name}/bin"'


def _check_host(host: Host, engine: Engine, program: str, gpus: int) -> None:
    """Check that this host answers and has what is needed.

    Raises:
        InputError: it does not; the message says what would work.
    """
    asked = (
        f"PATH={_search_path(engine)}:$PATH\ncommand -v {quoted(program)} > /dev/null || exit 3\n"
    )
    if engine.platform == "cuda":
        asked += f'[ "$(nvidia-smi --list-gpus | wc -l)" -ge {gpus} ] || exit 4\n'
    done = _answer(host, "bash -s", asked)
    name = engine.backend.name
    match done.returncode:
        case 0:
            return
        case 3:
            install = f"tpdeploy backends install {name} --platform {engine.platform}"
            raise InputError(f"{host.name} has no {program}; run there: {install}")
        case 4:
            raise InputError(f"{host.name} shows fewer than {gpus} NVIDIA GPUs; plan again")
    raise InputError(f"{host.name} cannot be reached: {one_line(done.stderr) or 'ssh failed'}")


def _answer(host: Host, command: str, text: str = "") -> "subprocess.CompletedProcess[str]":
    """What a command says there, which has `text` as its input.

    Raises:
        InputError: nothing for a while.
    """
    try:
        return told([*SSH, host.name, command], CHECK_TIMEOUT_S, stdin=text)
    except TpdeployError as error:
        raise InputError(f"{host.name}: {error}") from error
