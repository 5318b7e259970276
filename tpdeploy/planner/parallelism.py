"""Parallelism: how the devices are used, and the arithmetic of it.

A replica is `pipeline` stages, each of `stage_ranks` ranks: `data` groups of `tensor` ranks. Other
modules ask here how many ranks there are, and by what a tensor is divided.
"""

from pydantic import model_validator

from tpdeploy.bounds import Devices
from tpdeploy.profiles.record import Record


class Parallelism(Record):
    """Replicas of an engine of `pipeline` stages, each of `data` groups of `tensor` ranks.

    With `data` above 1 attention is data-parallel: each group holds all layers but the routed
    experts, and serves its own requests from its own KV cache. The routed experts are spread over
    all ranks of a stage. `expert` is 1 where each of them is split over those ranks, and
    `tensor x data` with expert parallelism, where each rank holds whole experts (vLLM's
    --enable-expert-parallel).
    """

    tensor: Devices
    pipeline: Devices = 1
    data: Devices = 1
    expert: Devices = 1
    replicas: Devices = 1

    @model_validator(mode="after")
    def _experts_over_all_ranks_of_a_stage(self) -> "Parallelism":
        if self.expert not in {1, self.stage_ranks}:
            raise ValueError(
                f"expert is 1 (experts are split) or tensor x data (expert parallel), here 1 or "
                f"{self.stage_ranks}, not {self.expert}"
            )
        return self

    @classmethod
    def of(
        cls,
        tensor: int,
        *,
        pipeline: int = 1,
        data: int = 1,
        expert_parallel: bool = False,
        replicas: int = 1,
    ) -> "Parallelism":
        """The parallelism whose experts are whole on each rank, or split over all of a stage."""
        expert = tensor * data if expert_parallel else 1
        return cls(tensor=tensor, pipeline=pipeline, data=data, expert=expert, replicas=replicas)

    def with_replicas(self, replicas: int) -> "Parallelism":
        """So many of the same replicas."""
        return self.model_copy(update={"replicas": replicas})

    @property
    def stage_ranks(self) -> int:
        """Devices of one pipeline stage."""
        return self.tensor * self.data

    @property
    def ranks(self) -> int:
        """Devices of one replica."""
        return self.stage_ranks * self.pipeline

    @property
    def devices(self) -> int:
        """Devices used."""
        return self.ranks * self.replicas

    @property
    def pipelined(self) -> bool:
        """Whether a replica has more than one stage."""
        return self.pipeline > 1

    @property
    def expert_parallel(self) -> bool:
        """Whether each rank holds whole experts."""
        return self.expert > 1

    @property
    def data_parallel(self) -> bool:
        """Whether attention is data-parallel: each of several groups has its own requests."""
        return self.data > 1

    @property
    def plain(self) -> bool:
        """Whether it is tensor parallelism alone."""
        return not (self.pipelined or self.data_parallel or self.expert_parallel)

    @property
    def lanes(self) -> int:
        """Batches that a replica has in flight: one for each data rank and pipeline stage."""
        return self.data * self.pipeline

    @property
    def kv_shards(self) -> int:
        """Ranks over which the KV heads of one request are divided."""
        return self.tensor

    @property
    def expert_shards(self) -> int:
        """Ranks over which one routed expert is divided: a whole one is on one rank."""
        return 1 if self.expert_parallel else self.stage_ranks

    def shards(self, *, routed: bool) -> int:
        """Ranks over which one tensor is divided; `routed`: of a routed expert."""
        return self.expert_shards if routed else self.tensor

    @property
    def words(self) -> str:
        """The split as people write it: `TP 8`, `TP 8 x PP 2`, `attention DP 8 + EP`."""
        words = f"TP {self.tensor}"
        if self.data_parallel:
            words = f"attention DP {self.data}" + (f" x {words}" if self.tensor > 1 else "")
        if self.pipelined:
            words += f" x PP {self.pipeline}"
        return f"{words} + EP" if self.expert_parallel else words
