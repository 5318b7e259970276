"""One request and its answer, as seen from the client's clock."""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

FailureKind = Literal["connect", "status", "timeout", "broken", "tokens", "reported"]


@dataclass(frozen=True)
class Failure:
    """Why a request does not count: what kind of failure, and the first line of its reason.

    connect: no connection; status: an HTTP status or an error event; timeout: nothing arrived
    for too long; broken: the stream ended early or was not the protocol; tokens: the prompt or
    the answer has another length than asked; reported: another load generator says that it failed.
    """

    kind: FailureKind
    message: str


@dataclass
class Exchange:
    """Times are seconds of `time.monotonic`."""

    due: float
    sent: float
    arrivals: list[tuple[float, int]] = field(default_factory=list)  # (when, new tokens)
    prompt_tokens: int | None = None  # as the server counts them; None: it does not say
    output_tokens: int = 0
    asked: int = 0  # output tokens asked for; 0: any number
    finished: float = 0.0
    failure: Failure | None = None

    @property
    def ttft_s(self) -> float:
        """Time to first token: from when the request was due to its first token."""
        return self.arrivals[0][0] - self.due

    @property
    def e2e_s(self) -> float:
        """End-to-end latency: from when the request was due to its last token."""
        return self.arrivals[-1][0] - self.due

    @property
    def tpot_s(self) -> float | None:
        """Time per output token after the first; None when there is only one token."""
        if self.output_tokens < 2:
            return None
        return (self.e2e_s - self.ttft_s) / (self.output_tokens - 1)

    @property
    def gaps_s(self) -> list[float]:
        """Inter-token latencies; tokens that arrive together share the time since the last ones."""
        gaps: list[float] = []
        for (before, _), (now, tokens) in pairwise(self.arrivals):
            gaps += [(now - before) / tokens] * tokens
        return gaps
