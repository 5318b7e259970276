"""PlanInputs: everything a plan is decided from."""

from dataclasses import dataclass
from math import ceil

from tpdeploy.planner.engine_rules import EngineRules
from tpdeploy.planner.protocol import STEADY, Protocol
from tpdeploy.planner.request import DEFAULT_ROUTER, Objective, Request, Router
from tpdeploy.planner.workload import Workload
from tpdeploy.profiles.devices.cluster import Cluster
from tpdeploy.profiles.models.shape import ModelShape
from tpdeploy.profiles.record import Dtype


@dataclass(frozen=True)
class PlanInputs:
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
    max_model_len: int | None = None  # tokens of one request, prompt and answer
    max_num_batched_tokens: int | None = None  # tokens of one step
    max_num_seqs: int | None = None  # requests in one step
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
    router: Router = DEFAULT_ROUTER
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
