"""The gated delta net of Qwen3-Next and Qwen3.5."""

from typing import ClassVar

from tpdeploy.planner.model.recurrent.attention import LinearMixer
from tpdeploy.profiles.models.shape import LinearAttention


class DeltaNet(LinearMixer):
    """Replaces what a key holds: reads the state once more, and solves a chunk's keys."""

    name = "delta net"
    column_parallel = "V of QKV and gate"
    groups = "key heads"
    decays: ClassVar[int] = 2  # decay and write strength
    scalars: ClassVar[int] = 2  # decay and its bias
    recurrence: ClassVar[int] = 7
    chunk: ClassVar[int] = 64  # of its kernels
    products: ClassVar[int] = 6

    def replicates(self, linear: LinearAttention) -> bool:
        """Never: its heads of keys are divided."""
        return False

    def solve_flops(self, linear: LinearAttention) -> float:
        """A triangular system of the chunk's keys."""
        return 2 * self.chunk * (2 * linear.key_size + linear.value_size)
