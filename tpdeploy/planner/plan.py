"""DeploymentPlan: the contract that `plan` writes and `launch` and `validate` read."""

from typing import Annotated, Literal

from pydantic import AfterValidator, AliasChoices, Field, model_validator

from tpdeploy.bounds import (
    MOST_PARAMETERS,
    Bytes,
    Clients,
    Devices,
    Figure,
    Index,
    Price,
    Tokens,
    Whole,
)
from tpdeploy.planner.daily import DailyPlan
from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.request import DEFAULT_ROUTER, Request, Router
from tpdeploy.planner.workload import Percentile, Workload
from tpdeploy.profiles.record import Confidence, Dtype, Record, Text


class Estimate(Record):
    """A predicted value, the range it is expected in (in the same unit), and its source."""

    value: Figure
    low: Figure
    high: Figure
    source: Text

    @model_validator(mode="after")
    def _value_in_range(self) -> "Estimate":
        if not self.low <= self.value <= self.high:
            raise ValueError(
                f"need low <= value <= high, got {self.low}, {self.value}, {self.high}"
            )
        return self


def _no_option(name: str) -> str:
    """`name`, which engines are given on their command line and terminals show."""
    if name.startswith("-"):
        raise ValueError("would be taken for an option")
    if not name.isprintable():
        raise ValueError("holds control characters")
    return name


ModelName = Annotated[Text, AfterValidator(_no_option)]


class PlannedModel(Record):
    """The model as it will be served."""

    id: ModelName = Field(description="hub id, or the local folder's name; clients send this name")
    path: ModelName | None = Field(default=None, description="folder; None: the engine downloads")
    architecture: Text
    parameters: int = Field(gt=0, le=MOST_PARAMETERS)
    uncounted: tuple[Text, ...] = Field(
        default=(), description="parts of config.json whose parameters and memory are not counted"
    )
    vocab: Tokens
    dtype: Dtype = Field(description="activations and unquantized weights")
    native_dtype: Dtype | None = Field(default=None, description="of the checkpoint, if known")
    quantization: str | None = Field(default=None, description="None: as the checkpoint is")
    stored_as: str | None = Field(default=None, description="method of a quantized checkpoint")
    kv_cache_dtype: Dtype


class PlannedCluster(Record):
    """The devices the plan is for."""

    gpu: Text
    platform: Literal["cuda", "rocm", "gaudi", "cpu"]
    compute_capability: float | None = Field(default=None, description="NVIDIA only")
    count: Devices
    nodes: Devices
    fabric: Text
    network: Text | None = Field(default=None, description="between machines")
    # Earlier plans call it an island.
    domain: Whole = Field(gt=0, validation_alias=AliasChoices("domain", "island"))
    memory_bytes: Bytes = Field(gt=0, description="of one device, as the driver reports it")
    assumptions: tuple[str, ...] = ()
    kinds: tuple[Text, ...] = Field(
        default=(), description="where devices differ: all kinds, each counted as `gpu`"
    )
    origin: Literal["stated", "detected"] = "stated"

    @model_validator(mode="after")
    def _equal_machines(self) -> "PlannedCluster":
        if self.count % self.nodes:
            raise ValueError(f"{self.count} devices do not make {self.nodes} equal machines")
        return self


class Placement(Record):
    """Where one replica runs: one device per rank, in rank order."""

    replica: Index
    node: Index = Field(default=0, description="machine of the first rank")
    devices: tuple[Index, ...] = Field(min_length=1, description="device numbers on their machine")
    cpus: tuple[Text, ...] = Field(default=(), description="on CPUs: the cores of each rank")
    nodes: tuple[Index, ...] = Field(
        default=(), description="machine of each rank, when they are on several"
    )

    @property
    def ranks(self) -> tuple[tuple[int, int], ...]:
        """Machine and device of each rank."""
        nodes = self.nodes or (self.node,) * len(self.devices)
        return tuple(zip(nodes, self.devices, strict=True))

    @property
    def machines(self) -> tuple[int, ...]:
        """The machines it runs on, that of the first rank first."""
        return tuple(dict.fromkeys(machine for machine, _ in self.ranks))

    def devices_on(self, machine: int) -> tuple[int, ...]:
        """Its devices on that machine, in rank order."""
        return tuple(device for where, device in self.ranks if where == machine)


class Limits(Record):
    """Engine-neutral limits; every engine is told each of them explicitly.

    With data-parallel attention those of a step are of each data rank.
    """

    max_model_len: Whole = Field(gt=0, description="tokens of one request, prompt and answer")
    max_num_seqs: Clients = Field(description="requests in one step")
    max_num_batched_tokens: Tokens = Field(description="tokens in one step")
    memory_fraction: float = Field(
        gt=0,
        le=1,
        description="of total memory, or of what is free once loaded: as the engine has it",
    )
    kv_cache_bytes: Bytes = Field(gt=0, description="KV cache per device that the plan counts on")
    enforce_eager: bool = Field(default=False, description="without CUDA graphs")


class MemoryPerGpu(Record):
    """Bytes on each device, by what they are for; the parts sum to `total_bytes`."""

    total_bytes: Bytes = Field(gt=0)
    weights_bytes: Bytes
    encoder_bytes: Bytes = Field(
        default=0, description="of weights_bytes: encoders of images and sound"
    )
    kv_cache_bytes: Bytes
    activation_bytes: Bytes
    graph_bytes: Bytes
    communicator_bytes: Bytes
    context_bytes: Bytes = Field(description="CUDA context and libraries")
    reserved_bytes: Bytes = Field(description="left to others by memory_fraction")
    kv_cache_tokens: Whole = Field(description="tokens one replica's KV cache holds")


class Statistics(Record):
    """Statistics of one latency over requests, in ms."""

    mean: Figure
    p50: Figure
    p90: Figure
    p95: Figure

    def at(self, percentile: Percentile) -> float:
        """The named statistic, in ms."""
        return float(getattr(self, percentile))


class Distribution(Statistics):
    """Statistics of one latency over the simulated requests, in ms."""

    p99: Figure | None = Field(default=None, description="None: too few requests to tell it")
    requests: Whole | None = Field(default=None, description="None: an earlier plan")


class Window(Record):
    """What happens to the requests that arrive within some seconds of a replay."""

    from_s: float = Field(ge=0)
    arrivals: Whole
    in_flight: Figure = Field(description="on average over the window")
    ttft_p50_ms: Figure | None = Field(default=None, description="None: nothing arrived")
    ttft_p99_ms: Figure | None = None
    tpot_p50_ms: Figure | None = Field(default=None, description="None: no second token")
    output_tokens_per_s: Figure = Field(description="that came within the window")
    within_targets: float | None = Field(
        default=None, ge=0, le=1, description="share of them that meet every target; None: no such"
    )
    missed: bool = Field(default=False, description="a target, at the statistic that it names")


class Timeline(Record):
    """A replay of recorded requests over time, simulated or measured."""

    window_s: float = Field(gt=0)
    windows: tuple[Window, ...]
    e2e_ms: Distribution
    peak_in_flight: Whole
    within_targets: float | None = Field(
        default=None, ge=0, le=1, description="share of all requests; None: no target"
    )
    cached: float | None = Field(
        default=None, ge=0, le=1, description="share of prompt tokens in the prefix cache"
    )


class Prediction(Record):
    """What the plan is expected to do under its workload (p50 unless a target names another)."""

    ttft_ms: Estimate
    tpot_ms: Estimate
    output_tokens_per_s: Estimate = Field(description="of all replicas together")
    requests_per_s: Estimate
    goodput_per_s: Estimate | None = Field(
        default=None,
        description="requests/s that each meet every target; None: none was stated, or the load "
        "is not kept up with",
    )
    ttft_distribution: Distribution
    tpot_distribution: Distribution
    timeline: Timeline | None = Field(default=None, description="None: not of a recording")
    confidence: Confidence | None = Field(
        default=None, description="in what the engine reaches there; None: an earlier plan"
    )
    e2e_distribution: Distribution | None = Field(
        default=None, description="from sending a request to its last token; None: an earlier plan"
    )


class Alternative(Record):
    """Another split of the same devices, and why it was not chosen."""

    tensor: Devices
    pipeline: Devices = 1
    data: Devices = 1
    expert: Devices = 1
    replicas: Devices
    feasible: bool | None = Field(default=None, description="None: not simulated, and so not known")
    reason: Text
    lacks_memory: bool = Field(default=False, description="the model, or its cache, does not fit")
    ttft_ms: Figure | None = Field(default=None, description="None: not simulated, or it grows")
    tpot_ms: Figure | None = None
    output_tokens_per_s: Figure | None = None

    @property
    def parallelism(self) -> Parallelism:
        """The split alone."""
        fields = {name: getattr(self, name) for name in Parallelism.model_fields}
        return Parallelism.model_validate(fields)


class EngineAnswer(Record):
    """What one engine would make of the same question."""

    name: Text
    feasible: bool
    reason: Text
    legacy: str = Field(default="", description="why nobody should start with it today")
    unbuilt: str = Field(default="", description="why its published builds do not run there")
    parallelism: Parallelism | None = None
    ttft_ms: Figure | None = None
    tpot_ms: Figure | None = None
    output_tokens_per_s: Figure | None = None


class ParetoPoint(Record):
    """A split at a load that no other beats in both tokens/s per device and TPOT."""

    parallelism: Parallelism
    load: Text
    output_tokens_per_s_per_device: Figure
    tpot_ms: Figure
    ttft_ms: Figure
    meets_targets: bool


class Cost(Record):
    """What the answer costs at a price the user gave, for the devices the plan uses."""

    device_price_per_hour: Price
    per_million_output_tokens: Estimate


class Refused(Record):
    """The answer when no split is feasible: why, and what each split came to."""

    feasible: Literal[False] = False
    reason: Text
    alternatives: tuple[Alternative, ...]
    daily: DailyPlan | None = Field(
        default=None, description="of the closest split; None: the load is not that of a day"
    )


class DeploymentPlan(Record):
    """One complete answer: model, devices, workload, split, limits, prediction and reasons."""

    version: Literal[1] = 1
    model: PlannedModel
    cluster: PlannedCluster
    workload: Workload
    request: Request | None = Field(default=None, description="None: written before it was kept")
    backend: Text
    parallelism: Parallelism
    placement: tuple[Placement, ...] = Field(min_length=1)
    limits: Limits
    memory_per_gpu: MemoryPerGpu
    prediction: Prediction
    overload: Text | None = Field(
        default=None, description="what of the load has to wait; None: nothing has to"
    )
    answer: str = Field(default="", description="in a sentence; empty: written before there was")
    why: tuple[str, ...] = Field(default=(), description="the reasons that matter most, in words")
    reasons: tuple[str, ...]
    depends_on: tuple[str, ...] = Field(
        default=(), description="up to which load the split stays the best, and what was assumed"
    )
    alternatives: tuple[Alternative, ...] = ()
    engines: tuple[EngineAnswer, ...] = Field(
        default=(), description="every engine that was asked; none where one was named"
    )
    pareto: tuple[ParetoPoint, ...] = ()
    cost: Cost | None = None
    daily: DailyPlan | None = Field(
        default=None, description="None: the load is not that of a day, of which it is the peak"
    )

    @property
    def router(self) -> Router:
        """How requests are shared out among its replicas."""
        return self.request.router if self.request else DEFAULT_ROUTER

    @model_validator(mode="after")
    def _placement_matches(self) -> "DeploymentPlan":
        ranks = self.parallelism.ranks
        if len(self.placement) != self.parallelism.replicas:
            raise ValueError(
                f"placement lists {len(self.placement)} replicas, "
                f"parallelism.replicas is {self.parallelism.replicas}"
            )
        if self.parallelism.devices > self.cluster.count:
            raise ValueError(
                f"parallelism needs {self.parallelism.devices} devices, "
                f"cluster.count is {self.cluster.count}"
            )
        seen: set[tuple[int, int]] = set()
        for place in self.placement:
            if len(place.devices) != ranks:
                raise ValueError(
                    f"placement of replica {place.replica} has {len(place.devices)} devices, "
                    f"tensor x data x pipeline is {ranks}"
                )
            if place.nodes and len(place.nodes) != ranks:
                told = "give a machine for each rank"
                raise ValueError(f"placement of replica {place.replica}: {told}")
            mine = set(place.ranks)
            if len(mine) != ranks or mine & seen:
                raise ValueError(f"placement of replica {place.replica} shares a device")
            seen |= mine
        return self
