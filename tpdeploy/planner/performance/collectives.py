"""Time of one collective operation in a group of a cluster's devices.

From curves measured on the cluster's fabric where there are any, carried over to the group size
where it was not measured itself, else from the stated link model (`links.py`). A group that spans
machines first works inside each machine, then over the network between them.
"""

from dataclasses import dataclass, replace
from functools import partial
from math import ceil

from tpdeploy.planner.performance.interpolation import (
    Interpolation,
    Seconds,
    nearest,
)
from tpdeploy.planner.performance.link_model import LINK_TIMES, LinkTime, point_to_point_seconds
from tpdeploy.profiles.devices.cluster import Cluster
from tpdeploy.profiles.devices.fabric import Algorithm, Curve, Fabric, LinkModel, Operation
from tpdeploy.profiles.devices.pcie import parsed

# What every engine takes the fastest of, for the size of the message, beside kernels of its own.
COMMON: tuple[Algorithm, ...] = ("nccl", "shared-memory", "gloo")
EXPERTS: tuple[Algorithm, ...] = ("deepep", "deepep-low-latency")

# All other algorithms are kernels of one engine. For all-reduces they are built for these group
# sizes (vLLM's custom_all_reduce.py, TensorRT-LLM's customAllReduceKernels.cu); others fall back
# to NCCL, but for NVL72's own.
OWN_GROUPS = frozenset({2, 4, 6, 8})
# Those over the trays of an NVL72 (TensorRT-LLM's mnnvlTwoShotAllreduceKernels.cu; FlashInfer's
# kernel, which comes from it, refuses 12: vllm-project/vllm pull request 53318).
OWN_GROUPS_OVER_TRAYS = frozenset({8, 16, 32, 64})
# The kernels of its own that an engine has, by `EngineRules.own_kernels`.
Own = tuple[Algorithm, ...]
# The GPU that curves of `tpdeploy calibrate` name.
THIS_MACHINE = "this machine"


@dataclass(frozen=True)
class Collective:
    """One operation in a group of devices: the time per message size, and its source."""

    operation: Operation
    group: int
    curves: tuple[Interpolation, ...]
    model: Seconds
    source: str
    over_pcie: bool = False
    most: tuple["Collective", ...] = ()  # the same on slower fabrics
    least: tuple["Collective", ...] = ()  # the same on faster ones

    def seconds(self, message_bytes: float) -> float:
        """Seconds of one operation of `message_bytes`; nothing to do for a group of one."""
        if self.group == 1 or message_bytes <= 0:
            return 0.0
        seconds = self._alone(message_bytes)
        for slower in self.most:
            seconds = min(seconds, slower.seconds(message_bytes))
        for faster in self.least:
            seconds = max(seconds, faster.seconds(message_bytes))
        return seconds

    def _alone(self, message_bytes: float) -> float:
        if not self.curves:
            return self.model(message_bytes)
        fitting = [c for c in self.curves if message_bytes <= c.limit] or self.curves
        return min([curve.seconds(message_bytes) for curve in fitting])


@dataclass(frozen=True)
class PointToPoint:
    """One message from a device to another."""

    model: Seconds
    source: str

    def seconds(self, message_bytes: float) -> float:
        """Seconds of one message of `message_bytes`."""
        return self.model(message_bytes) if message_bytes > 0 else 0.0


def all_reduce(cluster: Cluster, group: int, own: Own = ()) -> Collective:
    """Every rank begins with a message of its own and ends with the sum. Message: its bytes."""
    return _collective("all-reduce", cluster, group, own)


def all_gather(cluster: Cluster, group: int, own: Own = ()) -> Collective:
    """Every rank begins with a share and ends with all. Message: bytes each rank ends with."""
    return _collective("all-gather", cluster, group, own)


def reduce_scatter(cluster: Cluster, group: int, own: Own = ()) -> Collective:
    """Every rank ends with a share of the sum. Message: bytes each rank begins with."""
    return _collective("reduce-scatter", cluster, group, own)


def all_to_all(cluster: Cluster, group: int, own: Own = ()) -> Collective:
    """Every rank sends each rank an equal part. Message: bytes each rank sends, its own part too.

    The part for itself, 1/n, stays where it is.
    """
    return _collective("all-to-all", cluster, group, own)


def expert_dispatch(cluster: Cluster, group: int, own: Own = ()) -> Collective:
    """Every rank sends its tokens to the ranks of their experts, with a kernel made for it.

    Message: tokens of one rank x experts per token x hidden x 2 bytes (BF16), whatever narrower
    format the measured kernel sent. From an all-to-all where no such kernel was measured.
    """
    return _expert_exchange("expert-dispatch", cluster, group, own)


def expert_combine(cluster: Cluster, group: int, own: Own = ()) -> Collective:
    """The way back of `expert_dispatch`, summed for each token. Message: the same bytes."""
    return _expert_exchange("expert-combine", cluster, group, own)


def point_to_point(cluster: Cluster, group: int) -> PointToPoint:
    """One message between neighbours over the slowest link in a group of `group` devices.

    Message: bytes that one device sends. Between pipeline stages the group is that of all stages,
    and all ranks of a stage send at once.
    """
    if cluster.on_network(group):
        devices, _ = _over_machines(cluster, group)
        link = _shared(_network_link(cluster), cluster, devices)
        name = _network_name(cluster)
        return PointToPoint(partial(point_to_point_seconds, link), f"message on {name}, link model")
    pair = _within("all-to-all", cluster, 2, COMMON, spanned=group)
    source = f"message as half of an {pair.source}"
    return PointToPoint(lambda message_bytes: pair.seconds(2 * message_bytes), source)


def _expert_exchange(operation: Operation, cluster: Cluster, group: int, own: Own) -> Collective:
    found = _collective(operation, cluster, group, own)
    plain = all_to_all(cluster, group, own)
    if not found.curves:
        return plain
    # Inside a machine a plain all-to-all would do as well.
    return found if cluster.on_network(group) else replace(found, most=(plain,))


def _collective(operation: Operation, cluster: Cluster, group: int, own: Own) -> Collective:
    algorithms = (*COMMON, *EXPERTS, *own)
    if cluster.on_network(group):
        return _across(operation, cluster, group, algorithms)
    return _within(operation, cluster, group, algorithms, spanned=group)


def _within(
    operation: Operation,
    cluster: Cluster,
    group: int,
    algorithms: tuple[Algorithm, ...],
    *,
    spanned: int,
) -> Collective:
    """The operation inside a machine, among devices that lie within `spanned` neighbours.

    What was not measured with the device never takes longer than on a slower fabric, nor less than
    was measured on a faster one.
    """
    fabric, curves = _measured(cluster, operation, spanned)
    time = LINK_TIMES[operation]
    link = _link(fabric, group)
    far = _over_trays(curves, cluster, group, algorithms)
    found, how = _fitted(far or curves, time, link, group, algorithms, over_trays=bool(far))
    model = partial(time, link.shared(fabric.share), group)
    found = tuple(curve.over(fabric.share) for curve in found)
    scaled = "" if fabric.share == 1 else f", {fabric.share:g} of its bytes/s"
    source = f"{operation} on {fabric.name}, {how or 'link model'}{scaled}"
    pcie = parsed(fabric.name) is not None
    alone = Collective(operation, group, found, model, source, over_pcie=pcie)
    if found and _own(cluster, fabric, curves):
        return alone
    same = partial(_within, operation, group=group, algorithms=algorithms, spanned=spanned)
    # Beyond a domain without curves of its own the slower fabric is all there is.
    linked = [
        o for o in cluster.faster if _measured(o, operation, spanned)[0].name == o.fabric.name
    ]
    return replace(
        alone,
        most=(same(cluster=cluster.slower),) if cluster.slower else (),
        least=tuple(same(cluster=other) for other in linked),
    )


def _over_trays(
    curves: tuple[Curve, ...], cluster: Cluster, group: int, algorithms: tuple[Algorithm, ...]
) -> tuple[Curve, ...]:
    """Curves of groups that take several machines of one domain, for such a group; else none.

    Across machines a library or an engine may use other kernels than inside one: what was measured
    inside is not carried over where there is better.
    """
    tray = cluster.fabric.tray
    if tray is None or group <= cluster.per_machine:
        return ()
    wide = [c for c in curves if c.group_size > tray and c.algorithm in algorithms]
    most = max((c.group_size for c in wide), default=0)

    def built(curve: Curve) -> bool:
        if curve.algorithm in COMMON + EXPERTS:
            return True
        return group in OWN_GROUPS_OVER_TRAYS if curve.operation == "all-reduce" else group <= most

    return tuple(filter(built, wide))


def _own(cluster: Cluster, fabric: Fabric, curves: tuple[Curve, ...]) -> bool:
    """Whether `curves` were measured with this device, or with its kind where it has NVLink."""
    measured = {curve.gpu for curve in curves}
    if parsed(fabric.name) is None:
        return True
    return fabric.share == 1 and bool(measured & {cluster.accelerator.name, THIS_MACHINE})


def _measured(
    cluster: Cluster, operation: Operation, spanned: int
) -> tuple[Fabric, tuple[Curve, ...]]:
    """The fabric that devices within `spanned` neighbours use, and its curves.

    Inside a domain the fabric itself. Across domains its curves of wider groups, if any, with
    the link of the fabric between them; else that fabric and its own curves.
    """
    fabric, beyond = cluster.fabric, cluster.beyond
    curves = [c for c in fabric.curves if c.operation == operation]
    if spanned <= fabric.domain or beyond is None:
        return fabric, tuple(c for c in curves if c.group_size <= fabric.domain)
    across = tuple(c for c in curves if c.group_size > fabric.domain)
    if across:
        return fabric.model_copy(update={"link": beyond.link}), across
    return beyond, tuple(c for c in beyond.curves if c.operation == operation)


def _link(fabric: Fabric, group: int) -> LinkModel:
    """One device's link in a group of `group`; in a full mesh only those to the group's others."""
    if not fabric.full_mesh:
        return fabric.link
    share = min(1.0, (group - 1) / (fabric.domain - 1))
    return fabric.link.shared(share)


def _fitted(
    curves: tuple[Curve, ...],
    time: LinkTime,
    link: LinkModel,
    group: int,
    algorithms: tuple[Algorithm, ...],
    *,
    over_trays: bool = False,
) -> tuple[tuple[Interpolation, ...], str]:
    """The curves for a group of `group`, one per algorithm, and their source in words."""
    found: list[Interpolation] = []
    how: list[str] = []
    for algorithm in algorithms:
        same = [c for c in curves if c.algorithm == algorithm]
        if not same or not (over_trays or _runs(same, group)):
            continue
        curve = nearest(same, group)
        measured = partial(time, link, curve.group_size)
        known = Interpolation.of(curve).begun(measured)
        if curve.group_size == group:
            how.append(f"measured on {curve.gpu}")
        else:
            known = known.scaled(partial(time, link, group), measured)
            how.append(f"scaled from {curve.group_size} measured on {curve.gpu}")
        found.append(known)
    return tuple(found), " and ".join(dict.fromkeys(how))


def _runs(curves: list[Curve], group: int) -> bool:
    """Whether the algorithm of these curves exists for `group`.

    An engine's own kernel is taken where it was measured, and for groups it is built for that
    are narrower than a measured one.
    """
    first, sizes = curves[0], {curve.group_size for curve in curves}
    if first.algorithm in COMMON + EXPERTS or group in sizes:
        return True
    built = first.operation != "all-reduce" or group in OWN_GROUPS
    return built and group < max(sizes)


def _across(
    operation: Operation, cluster: Cluster, group: int, algorithms: tuple[Algorithm, ...]
) -> Collective:
    """The operation among all devices of machines on a network, as two steps one after the other.

    Inside each machine as within one, and over the network among the machines: every device its
    share, `message / devices per machine`, over its own adapter or its part of a common one. Of an
    all-to-all the parts for other machines cross the network.
    """
    devices, machines = _over_machines(cluster, group)
    model = _two_steps(operation, cluster, devices, machines)
    measured = cluster.network.curves if cluster.network else ()
    found: list[Interpolation] = []
    how: list[str] = []
    for algorithm in algorithms:
        same = [c for c in measured if (c.operation, c.algorithm) == (operation, algorithm)]
        if not same:
            continue
        curve = nearest(same, group)
        each = curve.group_size // curve.nodes
        origin = _two_steps(operation, cluster, each, curve.nodes)
        known = Interpolation.of(curve).begun(origin)
        shape = f"{curve.nodes}x{each} measured on {curve.gpu}"
        if (each, curve.nodes) == (devices, machines):
            how.append(shape)
        else:
            known = known.scaled(model, origin)
            how.append(f"scaled from {shape}")
        found.append(known)
    origins = " and ".join(dict.fromkeys(how)) or "two-step link model"
    source = f"{operation} on {_network_name(cluster)}, {origins}"
    return Collective(operation, group, tuple(found), model, source)


def _two_steps(operation: Operation, cluster: Cluster, devices: int, machines: int) -> Seconds:
    link = _shared(_network_link(cluster), cluster, devices)
    # Engines' own kernels are for groups inside one machine only.
    inside = _within(operation, cluster, devices, (*COMMON, *EXPERTS), spanned=devices)
    time = LINK_TIMES[operation]
    exchange = operation in ("all-to-all", "expert-dispatch", "expert-combine")

    def seconds(message_bytes: float) -> float:
        here = message_bytes / machines if exchange else message_bytes
        there = message_bytes if exchange else message_bytes / devices
        return inside.seconds(here) + time(link, machines, there)

    return seconds


def _over_machines(cluster: Cluster, group: int) -> tuple[int, int]:
    """Devices per machine, and machines, of a group that is spread evenly."""
    machines = ceil(group / cluster.per_machine)
    return ceil(group / machines), machines


def _network_link(cluster: Cluster) -> LinkModel:
    """The network's link; where none is known, the slowest link inside a machine."""
    if cluster.network:
        return cluster.network.link
    return (cluster.beyond or cluster.fabric).link


def _network_name(cluster: Cluster) -> str:
    return cluster.network.name if cluster.network else (cluster.beyond or cluster.fabric).name


def _shared(link: LinkModel, cluster: Cluster, devices: int) -> LinkModel:
    """One device's part of the network's link when `devices` of its machine send at once."""
    if cluster.network is None or cluster.network.adapters == "gpu":
        return link
    return link.shared(1 / devices)
