"""The list of checks, and how they are gone through."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tpdeploy.errors import InputError, TpdeployError
from tpdeploy.launcher.doctor import allreduce, devices, engine, limits, memory, storage, topology
from tpdeploy.launcher.doctor.case import Case
from tpdeploy.launcher.doctor.finding import Finding, warning
from tpdeploy.launcher.runtimes.registry import runtime_for


@dataclass(frozen=True)
class Check:
    """A check; `launch` runs the quick ones, and refuses where one that `stops` has failed.

    Such a failure is one after which the engine cannot start. Where replicas run elsewhere, those
    remain which are `of_front`.
    """

    name: str
    examine: Callable[[Case], Iterator[Finding]]
    quick: bool = True
    stops: bool = False
    of_front: bool = False


CHECKS = (
    Check("driver", devices.driver),
    Check("devices", devices.present, stops=True),
    Check("deployments", devices.taken, stops=True),
    Check("processes", devices.processes),
    Check("memory", memory.free_memory, stops=True),
    Check("topology", topology.fabric),
    Check("peer access", topology.peers),
    Check("sockets", topology.sockets),
    Check("engine", engine.installed),
    Check("port", limits.port, stops=True, of_front=True),
    Check("open files", limits.open_files, stops=True, of_front=True),
    Check("locked memory", limits.locked_memory),
    Check("shared memory", limits.shared_memory),
    Check("weights", storage.weights, stops=True),
    Check("hub", storage.hub, stops=True),
    Check("disk", storage.download, stops=True),
    Check("logs", storage.room, stops=True, of_front=True),
    Check("all-reduce", allreduce.all_reduce, quick=False),
)


def examine(case: Case, checks: Sequence[Check] = CHECKS) -> Iterator[Finding]:
    """What each of `checks` finds, as soon as it is found."""
    for check in checks:
        try:
            yield from check.examine(case)
        except (TpdeployError, OSError) as error:
            yield warning(check.name, f"could not be checked: {error}", "mend that, and try again")


def before_launch(case: Case, *, insist: bool) -> list[Finding]:
    """What the checks of a launch found: nothing that stops it.

    Raises:
        InputError: the engine cannot start, unless the user insists.
    """
    stopping = {check.name for check in CHECKS if check.stops}
    here = runtime_for(case.engine).here
    checks = [check for check in CHECKS if check.quick and (here or check.of_front)]
    found = list(examine(case, checks))
    stops = [f for f in found if f.verdict == "fail" and f.check in stopping and not insist]
    if stops:
        raise InputError(f"{' | '.join(f.line for f in stops)} (--force launches all the same)")
    return found
