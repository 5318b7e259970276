"""Shell completion: the known names that Tab offers behind an option."""

from collections.abc import Iterable

from tpdeploy.backends.registry import backend_names
from tpdeploy.profiles.devices.catalog import accelerator_names, fabric_names
from tpdeploy.profiles.devices.instances import instance_names
from tpdeploy.profiles.devices.networks import network_names
from tpdeploy.profiles.models.library import model_names
from tpdeploy.profiles.workloads import workload_names

# What stands before a GPU's name in `8xH100` and `2x8xH100`.
TIMES = "xX"


def models(incomplete: str) -> list[str]:
    """Aliases; ids once an owner is typed."""
    return _begun(incomplete, model_names(ids="/" in incomplete))


def gpus(incomplete: str) -> list[str]:
    """GPUs and machines of providers behind the counts that are typed, and `auto`."""
    at = max(incomplete.rfind(sign) for sign in TIMES) + 1
    if not incomplete[:at].translate(str.maketrans("", "", TIMES)).isdigit():
        at = 0
    counts, name = incomplete[:at], incomplete[at:]
    known = ("auto", *accelerator_names(), *instance_names())
    return [counts + found for found in _begun(name, known)]


def backends(incomplete: str) -> list[str]:
    """Engines."""
    return _begun(incomplete, ("auto", *backend_names()))


def workloads(incomplete: str) -> list[str]:
    """Named workloads."""
    return _begun(incomplete, workload_names())


def interconnects(incomplete: str) -> list[str]:
    """Fabrics."""
    return _begun(incomplete, fabric_names())


def networks(incomplete: str) -> list[str]:
    """Networks between machines."""
    return _begun(incomplete, network_names())


def deployments(incomplete: str) -> list[str]:
    """Deployments that run."""
    from tpdeploy.launcher.state import deployments as known  # noqa: PLC0415 - nobody else needs it

    return _begun(incomplete, (each.name for each in known() if each.running))


def known(incomplete: str) -> list[str]:
    """Models, GPUs, machines, interconnects and workloads."""
    others = (*instance_names(), *fabric_names(), *network_names(), *workload_names())
    return [*models(incomplete), *_begun(incomplete, (*accelerator_names(), *others))]


def _begun(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.lower().startswith(incomplete.lower())]
