"""How a load is measured: a closed loop for how many requests, an open one how well."""

from dataclasses import dataclass

MIN_REQUESTS = 48


@dataclass(frozen=True)
class Protocol:
    """How a load is measured.

    Without a warm-up the rates of a closed loop are what was counted until the last of so many
    requests ended; with one the load goes on, and they are those of the steady state. An open loop
    is always measured in its steady state, until its medians are known well enough.
    """

    requests_per_client: float = 3
    fewest_requests: int = MIN_REQUESTS  # in all, not counting those
    warm_up: int = 1  # requests of each client that are not counted
    together: bool = False  # all clients begin at once, as those of equal lengths always do
    settled: float = 0.015  # standard error of an open loop's medians, as a share of them


# What a server shows after a while.
STEADY = Protocol(fewest_requests=128)
# What it shows when its queue is long from the beginning.
FULL = Protocol(warm_up=2, together=True)
