"""What the planner needs to know about an engine; adapters provide it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from tpdeploy.profiles.devices.fabric import Algorithm


@dataclass(frozen=True)
class OwnKernels:
    """Collectives that an engine has in addition to NCCL's; the fastest one is used."""

    graphs: tuple[Algorithm, ...] = ()  # in CUDA graphs
    eager: tuple[Algorithm, ...] = ()  # without them
    # Those that bring tokens of data ranks to their experts by default; none: all are gathered.
    experts: tuple[Algorithm, ...] = ()


NCCL_ALONE = OwnKernels()


@dataclass(frozen=True)
class KvAllocation:
    """How an engine gives KV cache to requests.

    As their tokens come, and whoever was admitted last is preempted when there is no block left;
    or for a whole request when it is admitted.
    """

    block_tokens: int = 16
    whole_requests: bool = False
    reuses: bool = True  # a prefix cache: a preempted request finds what is left of its blocks


AS_TOKENS_COME = KvAllocation()


@dataclass(frozen=True)
class EngineOverheads:
    """Device memory that an engine uses in addition to weights and KV cache, in bytes."""

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
    """What the planner needs to know about the engine that runs the plan."""

    name: str
    memory_fraction: float
    refused_widths: Mapping[int, str] = field(default_factory=dict)
    width_needs: Mapping[int, str] = field(default_factory=dict)  # of a release, in words
    fraction_of: Literal["total", "free after weights"] = "total"
    pipeline: bool = True  # whether it can run pipeline stages here
    expert_parallel: bool = True  # whether it supports expert parallelism
    data_parallel: bool = False  # whether attention can be data-parallel
    data_or_tensor: bool = False  # whether it is then never tensor-parallel too
    several_machines: bool = True  # whether one replica may span machines
    prefill_priority: bool = False  # prompts run in steps of their own, before decoding
    # Steps that prompts of a data rank wait for all others to have one too, while all decode.
    prompt_wait_steps: int = 0
    async_scheduling: bool = False  # the next step is scheduled while one runs
    kv_allocation: KvAllocation = AS_TOKENS_COME
    eager: bool = False  # whether it can be told to leave out CUDA graphs
    quantizes: frozenset[str] = frozenset()  # what it can do to weights while it loads them
    checkpoints: frozenset[str] | None = None  # methods of quantized checkpoints; None: all
    own_kernels: OwnKernels = NCCL_ALONE
    overheads: EngineOverheads = field(kw_only=True)
