"""Fabrics (between GPUs of one machine) and networks (between machines), as measured."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tpdeploy.bounds import Bytes, BytesPerS, Devices, Seconds
from tpdeploy.profiles.record import Provenance, Record, Text

Point = tuple[Annotated[Bytes, Field(gt=0)], Seconds]

Operation = Literal[
    "all-reduce", "all-gather", "reduce-scatter", "all-to-all", "expert-dispatch", "expert-combine"
]
Algorithm = Literal[
    "nccl",
    "gloo",
    "vllm-graph",
    "vllm-eager",
    "tensorrt-llm",
    "deepep",
    "deepep-low-latency",
    "shared-memory",
]


class Curve(Provenance):
    """Measured time of one operation by message size, for one group size and algorithm.

    What counts as the message of each operation is said in `planner/performance/collectives.py`.
    """

    operation: Operation
    algorithm: Algorithm
    group_size: Devices = Field(ge=2)
    nodes: Devices = Field(default=1, description="machines the group was spread over")
    gpu: Text
    points: tuple[Point, ...] = Field(min_length=2, description="(message bytes, seconds), rising")

    @model_validator(mode="after")
    def _sizes_rise(self) -> "Curve":
        sizes = [size for size, _ in self.points]
        if sizes != sorted(set(sizes)):
            raise ValueError("points must be sorted by message size, each size once")
        if self.nodes > self.group_size:
            raise ValueError(f"a group of {self.group_size} is not on {self.nodes} machines")
        return self


class Measurements(Record):
    """What was measured on one fabric with one kind of GPU."""

    curves: tuple[Curve, ...] = Field(min_length=1)


class LinkModel(Provenance):
    """Link model for sizes without measurements: latency per hop and bandwidth per device."""

    hop_latency_s: Seconds
    ring_bytes_per_s: BytesPerS = Field(description="achieved bus bandwidth per device")

    def shared(self, share: float) -> "LinkModel":
        """`share` of this link: the same hop, and so much of its bytes/s."""
        return self.model_copy(update={"ring_bytes_per_s": share * self.ring_bytes_per_s})


class Fabric(Record):
    """One interconnect of GPUs. Groups wider than `domain` use `beyond`."""

    name: Text
    description: Text
    domain: int = Field(ge=1, description="devices joined by this fabric directly")
    tray: int | None = Field(
        default=None, ge=1, description="devices of one machine, where a domain holds several"
    )
    full_mesh: bool = Field(
        default=False, description="each pair of a domain has its own share of the bandwidth"
    )
    beyond: Text | None = Field(default=None, description="fabric between domains of one machine")
    network: Text | None = Field(default=None, description="network such machines usually have")
    slower: Text | None = Field(
        default=None, description="the next slower fabric that such machines could have instead"
    )
    share: float = Field(
        default=1.0, gt=0, description="its bytes/s over those of `link` and `curves`"
    )
    link: LinkModel
    curves: tuple[Curve, ...] = ()

    @property
    def per_machine(self) -> int | None:
        """Devices of one machine, where the fabric says so: a tray's, or one that is alone."""
        alone = self.domain == 1 and not self.isolated
        return 1 if alone else self.tray

    @property
    def isolated(self) -> bool:
        """Whether a device on it reaches no other: a slice of a GPU."""
        return self.domain == 1 and self.network is None

    @property
    def spans_machines(self) -> bool:
        """Whether one domain may hold several machines."""
        return self.tray is not None

    @property
    def direct(self) -> bool:
        """Whether devices reach each other without the machine's PCIe: NVLink and its like."""
        return not self.name.startswith(("pcie", "cpu"))


class Network(Record):
    """One network between machines."""

    name: Text
    description: Text
    adapters: Literal["gpu", "machine"] = Field(
        description="whether each GPU has its own adapter, or all of a machine share one"
    )
    link: LinkModel = Field(description="of one adapter")
    curves: tuple[Curve, ...] = ()
