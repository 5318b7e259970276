"""The devices of a cluster, as the planner takes them: `--gpus kubernetes`, `--gpus slurm:gpu`."""

from tpdeploy.errors import InputError
from tpdeploy.launcher.orchestrators.registry import ORCHESTRATORS
from tpdeploy.launcher.runtimes.registry import RUNTIMES
from tpdeploy.profiles.devices.cluster import Cluster
from tpdeploy.profiles.machine.gpus_spec import parse_gpus


def cluster_of(gpus: str, interconnect: str | None, network: str | None) -> Cluster:
    """The largest group of nodes that are alike, of the cluster that `gpus` names.

    Raises:
        InputError: it has none, or does not tell.
        TpdeployError: it does not answer.
    """
    name, _, where = gpus.partition(":")
    group = RUNTIMES if name in RUNTIMES.names() else ORCHESTRATORS
    offers = group.load(name).offers(where)
    if not offers:
        raise InputError(f"--gpus {gpus}: no node that is up has GPUs")
    first, *others = offers
    spec = f"{first.nodes}x{first.each}x{first.device}"
    if first.nodes == 1:
        spec = f"{first.each}x{first.device}"
    cluster = parse_gpus(spec, interconnect, network=network)
    found = (
        f"Found in {gpus}: nodes with {first.each} x {first.called}, {first.nodes} in number; what "
        "others use of them is not taken off."
    )
    rest = ", ".join(f"{o.nodes} with {o.each} x {o.called}" for o in others)
    left = (f"Left out, as the nodes of a plan are alike: {rest}.",) if rest else ()
    return cluster.changed(assumptions=(found, *left, *cluster.assumptions))
