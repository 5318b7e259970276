"""Parallelism: how the devices are used, as replicas of one engine split over several ranks."""

from pydantic import model_validator

from tpdeploy.bounds import Devices
from tpdeploy.profiles.record import Record


class Parallelism(Record):
    """Replicas of an engine of `pipeline` stages, each a tensor-parallel group of `tensor` ranks.

    `expert` is 1 where experts are split over the tensor ranks as every other layer is, and
    `tensor` with expert parallelism, where each rank holds whole experts (vLLM's
    --enable-expert-parallel).
    """

    tensor: Devices
    pipeline: Devices = 1
    expert: Devices = 1
    replicas: Devices = 1

    @model_validator(mode="after")
    def _experts_over_all_tensor_ranks(self) -> "Parallelism":
        if self.expert not in {1, self.tensor}:
            raise ValueError(
                f"expert is 1 (tensor parallel) or tensor (expert parallel), here 1 or "
                f"{self.tensor}, not {self.expert}"
            )
        return self

    @property
    def ranks(self) -> int:
        """Devices of one replica."""
        return self.tensor * self.pipeline

    @property
    def devices(self) -> int:
        """Devices used."""
        return self.ranks * self.replicas

    @property
    def words(self) -> str:
        """The split as people write it: `TP 8`, `TP 8 x PP 2`, `TP 8 + EP`."""
        words = f"TP {self.tensor}"
        if self.pipeline > 1:
            words += f" x PP {self.pipeline}"
        return f"{words} + EP" if self.expert > 1 else words
