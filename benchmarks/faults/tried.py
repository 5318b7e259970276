"""The faults, each with how it is made."""

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass

import psutil

from benchmarks.faults.home import Home
from tpdeploy.errors import TpdeployError
from tpdeploy.launcher.runtimes.member import Member
from tpdeploy.launcher.runtimes.processes import is_alive
from tpdeploy.launcher.state import log_of

HANG_TIMEOUT_S = 20
ENGINES = ("vLLM", "stand-in")


@dataclass(frozen=True)
class Fault:
    """A fault, what makes it, and what is waited for until it is over."""

    name: str
    make: Callable[[Home], str]  # a remark, if there is one
    restarts: int = 1  # of any member, by which it is noticed; 0: nothing is to be noticed
    engines: tuple[str, ...] = ENGINES


def kill_server(home: Home) -> str:
    """The first process of the first replica."""
    _signal(_process(home.now().members[0]), signal.SIGKILL)
    return ""


def stop_server(home: Home) -> str:
    """It accepts connections and answers none."""
    _signal(_process(home.now().members[0]), signal.SIGSTOP)
    return f"hang timeout {HANG_TIMEOUT_S} s"


def kill_core(home: Home) -> str:
    """The process that has the model."""
    _signal(_core(home), signal.SIGKILL)
    return ""


def stop_core(home: Home) -> str:
    """The server answers its health check, and nothing is generated."""
    _signal(_core(home), signal.SIGSTOP)
    return f"hang timeout {HANG_TIMEOUT_S} s"


def kill_front(home: Home) -> str:
    """All connections of clients go with it."""
    _signal(_process(home.now().members[-1]), signal.SIGKILL)
    return ""


def stop_front(home: Home) -> str:
    """It accepts connections and answers none."""
    _signal(_process(home.now().members[-1]), signal.SIGSTOP)
    return "10 s without an answer"


def kill_supervisor(home: Home) -> str:
    """Then a replica, which nobody sees, until the next command."""
    supervisor = home.now().supervisor
    if supervisor is None:
        raise TpdeployError("there is no supervisor")
    _signal(psutil.Process(supervisor.pid), signal.SIGKILL)
    home.seconds_until(lambda: not is_alive(supervisor))
    kill_server(home)
    return home.run("status").stderr.strip()


def hang_up(home: Home) -> str:
    """What a terminal that is closed sends."""
    supervisor = home.now().supervisor
    if supervisor:
        _signal(psutil.Process(supervisor.pid), signal.SIGHUP)
    return ""


def die_with_long_log(home: Home) -> str:
    """The supervisor reads why it ended."""
    supervisor = home.now().supervisor
    if supervisor is None:
        raise TpdeployError("there is no supervisor")
    log = home.home / "deployments" / "default" / "logs" / log_of("default", "replica-0").name
    with log.open("ab") as file:
        for _ in range(1024):
            file.write(b"a line of a log\n" * 2**16)
    kill_server(home)
    home.seconds_until(lambda: home.now().members[0].restarts > 0)
    peak = next(
        int(line.split()[1]) * 1024
        for line in open(f"/proc/{supervisor.pid}/status")  # noqa: SIM115, PTH123
        if line.startswith("VmHWM")
    )
    return f"supervisor's peak memory {peak / 2**20:.0f} MiB"


def restart(home: Home) -> str:
    """`tpdeploy restart`: one after another."""
    return _asked(home, "restart", "--drain", "30")


def scale(home: Home) -> str:
    """`tpdeploy scale` to one replica, and back to two."""
    return _asked(home, "scale", "--replicas", "1") + _asked(home, "scale", "--replicas", "2")


FAULTS = (
    Fault("kill -9 of a replica's server", kill_server),
    Fault("kill -9 of its EngineCore", kill_core, engines=("vLLM",)),
    Fault("SIGSTOP of a replica's server", stop_server),
    Fault("SIGSTOP of its EngineCore: healthy, and generates nothing", stop_core, 1, ("vLLM",)),
    Fault("kill -9 of the front", kill_front),
    Fault("SIGSTOP of the front", stop_front),
    Fault("kill -9 of the supervisor, then of a server; then `status`", kill_supervisor),
    Fault("SIGHUP to the supervisor", hang_up, restarts=0),
    Fault("a log of 1 GiB, then kill -9 of its writer", die_with_long_log),
    Fault("rolling restart", restart, restarts=2),
    Fault("scale to 1 replica and back to 2", scale),
)


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    os.kill(process.pid, number)


def _process(member: Member) -> psutil.Process:
    if member.leader is None:
        raise TpdeployError(f"{member.label} does not run")
    return psutil.Process(member.leader.pid)


def _core(home: Home) -> psutil.Process:
    children = _process(home.now().members[0]).children(recursive=True)
    found = [child for child in children if "EngineCore" in " ".join(child.cmdline())]
    if not found:
        raise TpdeployError("there is no EngineCore")
    return found[0]


def _asked(home: Home, *command: str) -> str:
    done = home.run(*command)
    return done.stderr.strip().splitlines()[-1] if done.returncode else ""
