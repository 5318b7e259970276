"""Devices of several kinds in one machine: ranks are equal, so each counts as the weakest."""

from collections.abc import Sequence

from tpdeploy.errors import InputError
from tpdeploy.numbers import in_gib
from tpdeploy.profiles.devices.accelerator import Accelerator
from tpdeploy.profiles.devices.cluster import Cluster
from tpdeploy.profiles.devices.pcie import Pcie, parsed


def weakest(devices: Sequence[Accelerator]) -> Accelerator:
    """A device that each of `devices` is at least as good as; it is called like the slowest.

    Engines give every rank the same share of the weights and of the KV cache, and each layer waits
    for the last rank. So memory, bytes/s and FLOP/s are the least of all, joined by the slowest
    PCIe.

    Raises:
        InputError: nothing joins them, or no engine runs on all.
    """
    slowest = min(devices, key=lambda device: device.peaks.memory_bytes_per_s)
    if len({device.name for device in devices}) == 1:
        return slowest
    names = ", ".join(dict.fromkeys(device.name for device in devices))
    if len({device.platform for device in devices}) > 1:
        raise InputError(f"{names} in one group: no engine runs on all of them; plan each kind")
    links = [link for device in devices if (link := _pcie(device))]
    if len(links) < len(devices):
        raise InputError(f"{names} in one machine: no PCIe joins all of them; plan each kind")
    peaks, every = slowest.peaks, [device.peaks for device in devices]
    formats = set(peaks.flops_per_s).intersection(*(each.flops_per_s for each in every))
    return slowest.changed(
        fabrics=(min(links, key=lambda link: (link.generation, link.lanes)).name,),
        peer_to_peer=all(device.peer_to_peer for device in devices),
        compute_capability=_least([device.compute_capability for device in devices]),
        peaks=peaks.changed(
            memory_bytes=min(each.memory_bytes for each in every),
            flops_per_s={f: min(each.flops_per_s[f] for each in every) for f in sorted(formats)},
        ),
        mig=None,
    )


def as_weakest(cluster: Cluster, devices: Sequence[Accelerator]) -> Cluster:
    """`cluster` of the weakest of `devices`, with what that means; as it is if all are alike."""
    kinds = tuple(dict.fromkeys(device.name for device in devices))
    if len(kinds) == 1:
        return cluster
    memory = in_gib(cluster.accelerator.peaks.memory_bytes)
    rate = f"{cluster.accelerator.peaks.memory_bytes_per_s / 1e9:,.0f} GB/s"
    meant = (
        f"{', '.join(kinds)} in one machine: ranks are equal, so each GPU counts as one with "
        f"{memory} and {rate}, the least of them; what others have more is not used."
    )
    return cluster.changed(kinds=kinds, assumptions=(meant, *cluster.assumptions))


def _pcie(device: Accelerator) -> Pcie | None:
    return next((link for name in device.fabrics if (link := parsed(name))), None)


def _least(capabilities: Sequence[float | None]) -> float | None:
    known = [each for each in capabilities if each is not None]
    return min(known) if known else None
