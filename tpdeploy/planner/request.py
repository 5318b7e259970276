"""Request: what `plan` was asked that stands nowhere else in a plan."""

from typing import Literal

from pydantic import Field

from tpdeploy.profiles.record import Dtype, Record

Objective = Literal["throughput", "latency", "cost", "goodput", "fewest", "daily"]
Router = Literal["least-in-flight", "round-robin", "power-of-two", "cache-aware"]
# That of the front which `launch` starts.
DEFAULT_ROUTER: Router = "least-in-flight"


class Request(Record):
    """The options of a plan besides its model, devices, load and engine; None: left open.

    Each field is one of `PlanInputs` by the same name, so that a plan can be asked for again.
    """

    tensor: int | None = Field(default=None, gt=0)
    pipeline: int | None = Field(default=None, gt=0)
    data: int | None = Field(default=None, gt=0)
    expert_parallel: bool | None = None
    replicas: int | None = Field(default=None, gt=0)
    optimize: Objective = Field(
        default="throughput",
        description="fewest: the number of devices was left open; daily: GPU-hours",
    )
    gpu_price_per_hour: float | None = Field(default=None, gt=0)
    dtype: Dtype | None = Field(default=None, description="None: as the checkpoint is")
    quantization: str | None = Field(default=None, description="None: as the checkpoint is")
    kv_cache: str = Field(default="auto", description="auto: as the checkpoint or the model is")
    max_model_len: int | None = Field(default=None, gt=0, description="tokens of one request")
    max_num_batched_tokens: int | None = Field(default=None, gt=0)
    max_num_seqs: int | None = Field(default=None, gt=0, description="requests in one step")
    memory_fraction: float | None = Field(
        default=None, gt=0, le=1, description="in the engine's own meaning; None: its usual one"
    )
    enforce_eager: bool = Field(default=False, description="without CUDA graphs")
    interconnect: str | None = Field(default=None, description="None: the usual one, or as found")
    network: str | None = Field(default=None, description="None: the usual one")
    router: Router = Field(
        default=DEFAULT_ROUTER, description="how requests are shared out among replicas"
    )
    settled: tuple[str, ...] = Field(
        default=(), description="fields that were left open, and that the planner filled"
    )
