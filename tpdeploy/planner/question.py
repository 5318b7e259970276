"""Question: everything a plan is decided from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import Literal

from tpdeploy.planner.protocol import STEADY, Protocol
from tpdeploy.planner.request import Objective, Request
from tpdeploy.planner.workload import Workload
from tpdeploy.profiles.devices.cluster import Cluster
from tpdeploy.profiles.devices.fabric import Algorithm
from tpdeploy.profiles.models.shape import ModelShape
from tpdeploy.profiles.record import Dtype


@dataclass(frozen=True)
class OwnKernels:
    """The collectives that an engine runs beside NCCL's; the fastest one is run."""

    graphs: tuple[Algorithm, ...] = ()  # in CUDA graphs
    eager: tuple[Algorithm, ...] = ()  # without them
    # Those that bring tokens of data ranks to their experts by default; none: all are gathered.
    experts: tuple[Algorithm, ...] = ()


NCCL_ALONE = OwnKernels()


@dataclass(frozen=True)
class EngineOverheads:
    """What an engine takes of a device beside weights and KV cache, in bytes."""

    library_bytes: int  # outside its framework, on every rank
    fused_all_reduce_bytes: int  # on every rank of a group, on devices that have it:
    fused_all_reduce_from: float  # of this compute capability
    fused_all_reduce_below: float  # up to, and without, this one
    first_graph_bytes: int
    graph_bytes_per_layer: int  # of each captured batch size
    sampler_bytes_per_logit: int  # of each sequence and word of the vocabulary
    cpu_process_bytes: int  # of a whole process on a CPU


@dataclass(frozen=True)
class EngineRules:
    """What the planner has to know about the engine that will run the plan."""

    name: str
    memory_fraction: float
    refused_widths: Mapping[int, str] = field(default_factory=dict)
    width_needs: Mapping[int, str] = field(default_factory=dict)  # of a release, in words
    fraction_of: Literal["total", "free after weights"] = "total"
    pipeline: bool = True  # whether it can run pipeline stages here
    expert_parallel: bool = True  # whether it supports expert parallelism
    data_parallel: bool = False  # whether attention can be data-parallel
    data_or_tensor: bool = False  # whether it is then never tensor-parallel too
    multi_node: bool = True  # whether one replica may span machines
    prefill_priority: bool = False  # prompts run in steps of their own, before decoding
    # Steps that prompts of a data rank wait for all others to have one too, while all decode.
    prompt_wait_steps: int = 0
    async_scheduling: bool = False  # the next step is scheduled while one runs
    eager: bool = False  # whether it can be told to leave out CUDA graphs
    quantizes: frozenset[str] = frozenset()  # what it can do to weights while it loads them
    checkpoints: frozenset[str] | None = None  # methods of quantized checkpoints; None: all
    own_kernels: OwnKernels = NCCL_ALONE
    overheads: EngineOverheads = field(kw_only=True)


@dataclass(frozen=True)
class Question:
    """A model as it will be served, the devices, the load, and what the user fixed."""

    shape: ModelShape
    cluster: Cluster
    workload: Workload
    engine: EngineRules
    kv_cache_dtype: Dtype
    native_dtype: Dtype | None = None  # of the checkpoint, before `shape` was given another
    dtype: Dtype | None = None  # as asked, as the next two and the interconnect are
    quantization: str | None = None
    kv_cache: str = "auto"
    max_model_len: int | None = None
    max_num_batched_tokens: int | None = None
    max_num_seqs: int | None = None
    memory_fraction: float | None = None  # None: the engine's own
    enforce_eager: bool = False
    tensor: int | None = None
    pipeline: int | None = None
    data: int | None = None
    expert_parallel: bool | None = None
    replicas: int | None = None
    optimize: Objective = "throughput"
    gpu_price_per_hour: float | None = None
    interconnect: str | None = None
    network: str | None = None
    settled: tuple[str, ...] = ()  # what of all this the user left open, and the planner filled
    protocol: Protocol = STEADY

    @property
    def request(self) -> Request:
        """What of it a plan has to keep beside its model, devices, load and engine."""
        return Request(**{name: getattr(self, name) for name in Request.model_fields})

    @property
    def on_cpu(self) -> bool:
        """Whether the devices are shares of a CPU."""
        return self.cluster.accelerator.platform == "cpu"

    @property
    def memory_share(self) -> float:
        """The fraction of memory in the engine's own meaning: as asked, else its usual one."""
        return self.memory_fraction or self.engine.memory_fraction

    @property
    def graphless(self) -> bool:
        """Whether GPUs run without CUDA graphs; CPUs have none, and are measured without."""
        return self.enforce_eager and not self.on_cpu

    @property
    def device(self) -> str:
        """What a reader calls one device."""
        return "CPU share" if self.on_cpu else "GPU"


def share_of_load(workload: Workload, replicas: int) -> Workload:
    """The load of the busiest replica behind an even router."""
    if workload.concurrency is not None:
        return workload.at_concurrency(ceil(workload.concurrency / replicas))
    return workload.at_rate((workload.rate or 0.0) / replicas)
