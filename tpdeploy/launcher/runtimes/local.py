"""Members as processes of this machine, each the leader of a session."""

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from subprocess import Popen
from typing import ClassVar

from tpdeploy.backends.base import Site
from tpdeploy.errors import InputError, TpdeployError
from tpdeploy.files import write_whole
from tpdeploy.launcher.environments import (
    Environment,
    environment_of_executable,
    environment_of_python,
)
from tpdeploy.launcher.installed import installations, used
from tpdeploy.launcher.runtimes import processes
from tpdeploy.launcher.runtimes.base import Engine, Observed, Parts, Rendered, Replica, Runtime
from tpdeploy.launcher.runtimes.machine import check_machine
from tpdeploy.launcher.runtimes.member import Member
from tpdeploy.launcher.runtimes.ports import (
    EVERYWHERE,
    LOOPBACK,
    free_ports,
    is_connected,
    listeners,
)
from tpdeploy.planner.plan import DeploymentPlan


class Local(Runtime):
    """Starts processes in this user's name."""

    name: ClassVar[str] = "local"

    def __init__(self) -> None:
        # Kept until they are stopped: Python waits for children whose objects are gone, after
        # which their numbers may be given to others.
        self.children: dict[int, Popen[bytes]] = {}

    def check_plan(self, plan: DeploymentPlan, engine: Engine) -> None:
        """It is for one machine."""
        machines = {machine for place in plan.placement for machine in place.machines}
        if len(machines) > 1:
            raise InputError(
                f"the plan spans {len(machines)} machines, and launch starts it on this one; "
                "plan one machine, or say --on ssh:HOST,HOST, slurm, kubernetes or ray"
            )

    def check(self, plan: DeploymentPlan, engine: Engine) -> None:
        """The machine has the devices, and the engine's program is there."""
        check_machine(plan)
        self.check_program(engine)

    def check_program(self, engine: Engine) -> None:
        """Return if the engine is there.

        Raises:
            InputError: it is not; the message says what brings it.
        """
        check_installed(engine)

    def environment(self, engine: Engine) -> Environment | None:
        """The one of the program that the user named, else the first that was found."""
        return environment_named(engine)

    def run_python(
        self, engine: Engine, arguments: Sequence[str], variables: Mapping[str, str]
    ) -> AbstractContextManager[tuple[str, ...] | None]:
        """By the Python of its environment; who reads the output ends the processes."""
        found = self.environment(engine)
        if found is None:
            return nullcontext()
        return nullcontext((*with_variables(variables), str(found.python), *arguments))

    def site(self, replica: Replica) -> Site:
        """On loopback, on ports that are free now, with the devices of the plan."""
        port, *spare = map(str, free_ports(LOOPBACK, 1 + replica.engine.backend.spare_ports))
        place = replica.place
        return Site(LOOPBACK, port, replica.folder, tuple(spare), place.devices, place.cpus)

    def render(self, replica: Replica, member: Member, parts: Parts) -> Rendered:
        """The engine's own command, with the path of its program if that is known here."""
        command, engine = parts.leader, replica.engine
        name, *arguments = command.argv
        argv = (_program(engine, name), *arguments)
        files = {replica.folder / name: text for name, text in command.files.items()}
        env = {**seen_devices(engine, replica.place.devices), **command.env}
        return Rendered(member, argv, env, files)

    def start(self, rendered: Rendered, keys: Mapping[str, str], log: Path) -> Member:
        """Start it as the leader of a session."""
        for path, text in rendered.files.items():
            write_whole(path, text)
        env = {**_search_path(rendered.argv[0]), **rendered.env, **keys}
        child, leader = processes.start(rendered.argv, env, log)
        self.children[leader.pid] = child
        return rendered.member.changed(leader=leader)

    def observe(self, member: Member) -> Observed:
        """Whether its first process is alive.

        That one is not waited for before its session is ended: until then its number is not given
        to another process.
        """
        if member.leader is None:
            return Observed(runs=False)
        if processes.is_alive(member.leader):
            return Observed(runs=True)
        return Observed(runs=False, end=processes.end_of(member.leader))

    def listens(self, member: Member) -> bool:
        """Whether a process of its session does, and no other."""
        ours = {process.pid for process in processes.members(*_leaders([member]))}
        listening = listeners(member.port)
        for process in listening:
            if process.pid not in ours:
                raise TpdeployError(
                    f"port {member.port} of {member.label} has been taken by {process.name()} "
                    f"({process.pid}) meanwhile; launch again"
                )
        return bool(listening)

    def address(self, member: Member) -> str:
        """On this machine, where who listens everywhere is reached by the loopback."""
        host = LOOPBACK if member.host == EVERYWHERE else member.host
        return f"{'https' if member.tls else 'http'}://{host}:{member.port}"

    def is_busy(self, member: Member) -> bool:
        """Whether there is a connection to its port."""
        return is_connected(member.port)

    def left(self, members: Sequence[Member]) -> bool:
        """Whether a process of their sessions is alive."""
        return bool(processes.members(*_leaders(members)))

    def stop(self, members: Sequence[Member], grace_s: float) -> None:
        """End their sessions."""
        processes.end_sessions(*_leaders(members), grace_s=grace_s)
        for leader in _leaders(members):
            if child := self.children.pop(leader.pid, None):
                child.poll()


def environment_named(engine: Engine) -> Environment | None:
    """The environment of the program that the user named, else the first that was found.

    Raises:
        InputError: what the user named is not a program.
    """
    if engine.executable:
        return environment_of_executable(engine.executable)
    if engine.python:
        return environment_of_python(engine.python)
    return used(engine.backend, engine.platform)


def check_installed(engine: Engine) -> None:
    """Return if the engine is installed on this machine.

    Raises:
        InputError: it is not; the message holds the command that installs it.
    """
    if environment_named(engine) is None:
        platform, name = engine.platform, engine.backend.name
        passed_over = [
            f"; {each.where} is one that is not used unasked, {each.objection} "
            f"({each.environment.executables})"
            for each in installations(engine.backend, platform)
        ]
        raise InputError(
            f"{name} for {platform} is not installed{''.join(passed_over)}; install it: "
            f"tpdeploy backends install {name} --platform {platform}"
        )


def seen_devices(engine: Engine, devices: Sequence[int]) -> dict[str, str]:
    """The variable by which the engine sees these devices alone, if it has one."""
    variable = engine.backend.device_variables.get(engine.platform)
    return {variable: ",".join(map(str, devices))} if variable else {}


def with_variables(variables: Mapping[str, str]) -> tuple[str, ...]:
    """The beginning of a command that has these variables beside the others."""
    return ("/usr/bin/env", *(f"{name}={value}" for name, value in variables.items()))


def _search_path(program: str) -> dict[str, str]:
    """What an engine calls by name comes from its own environment, where that is known."""
    if os.sep not in program:
        return {}
    return {"PATH": f"{Path(program).parent}{os.pathsep}{os.environ.get('PATH', '')}"}


def _leaders(members: Sequence[Member]) -> list[processes.Leader]:
    return [member.leader for member in members if member.leader]


def _program(engine: Engine, name: str) -> str:
    """The path of the engine's program `name`; its bare name where it is not installed."""
    if engine.executable:
        return str(engine.executable)
    if engine.python:
        return str(environment_of_python(engine.python).program(name))
    with suppress(InputError):  # no environment is made for the plan's platform
        found = used(engine.backend, engine.platform)
        if found and found.program(name).exists():
            return str(found.program(name))
    return name
