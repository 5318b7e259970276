"""One engine step: what it processes, and the time it takes."""

from dataclasses import dataclass


@dataclass(slots=True)
class Step:
    """What one engine step processes on one data rank, the only one where attention has one."""

    decode_sequences: int = 0
    decode_context: float = 0.0  # mean tokens of context of the decoding sequences
    prefill_tokens: int = 0
    prefill_context: float = 0.0  # mean tokens each prefill token attends to
    prefills_done: int = 0  # prefills that end in this step and are sampled
    verified: int = 1  # tokens of each decoding sequence: one, and what was drafted
    elsewhere: int = 0  # tokens of the other data ranks in the same step; experts get them too

    @property
    def tokens(self) -> int:
        """Tokens that go through each layer here; prefill and decode share one product."""
        return self.decode_sequences * self.verified + self.prefill_tokens

    @property
    def sampled(self) -> int:
        """Tokens that need logits."""
        return self.decode_sequences * self.verified + self.prefills_done


@dataclass(frozen=True)
class StepTime:
    """Seconds of one step, by cause."""

    linear: float
    attention: float
    communication: float
    overhead: float

    @property
    def total(self) -> float:
        """Seconds of the whole step."""
        return self.linear + self.attention + self.communication + self.overhead
