"""Warm-up and measurement of a load, until enough is recorded."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

from tpdeploy.harness.load.exchange import Exchange

# Two rounds of requests agree when their median end-to-end latencies differ by no more.
STABLE_WITHIN = 0.10
# Failures in a row after which the endpoint is taken for dead.
GIVE_UP_AFTER = 20


@dataclass(frozen=True)
class Amount:
    """How much to measure: requests, seconds, or whichever comes first."""

    requests: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Progress:
    """How far a measurement is; `total` is None when only time limits it."""

    phase: Literal["warm-up", "measurement"]
    done: int
    total: int | None
    failed: int


@dataclass
class Recorder:
    """Sorts finished exchanges into warm-up and measurement, while the load goes on unbroken.

    The warm-up ends when two rounds of `round_size` requests take the same time, or after
    `warm_up_limit` requests: an engine's first requests are slow, and a closed loop's first
    round arrives all at once. With `whole_rounds` seconds end a measurement after a whole round.
    """

    warm_up_limit: int
    round_size: int
    amount: Amount
    report: Callable[[Progress], None]
    warm_up: list[Exchange] = field(default_factory=list)
    measured: list[Exchange] = field(default_factory=list)
    stable: bool = False
    whole_rounds: bool = False
    began: float = field(default_factory=time.monotonic)
    since: float = field(default_factory=time.monotonic)
    failures_in_a_row: int = 0

    def take(self, exchange: Exchange) -> bool:
        """Record one finished exchange; True when there is enough."""
        if self._enough():
            return True  # ended at the same instant as the last one that counts
        self.failures_in_a_row = self.failures_in_a_row + 1 if exchange.failure else 0
        if self.warming_up:
            self.warm_up.append(exchange)
            self.stable = self._agrees_with_last_round()
            self.since = exchange.finished
        else:
            self.measured.append(exchange)
        self.report(self._progress())
        return self._enough()

    @property
    def span_s(self) -> float:
        """Seconds from the end of the warm-up to the last measured answer."""
        return max((e.finished for e in self.measured), default=self.since) - self.since

    @property
    def warming_up(self) -> bool:
        """Whether the next exchange still belongs to the warm-up."""
        return not (self.measured or self.stable) and len(self.warm_up) < self.warm_up_limit

    def _enough(self) -> bool:
        if self.failures_in_a_row >= GIVE_UP_AFTER:
            return True
        if self.warming_up:
            return False
        requests, seconds = self.amount.requests, self.amount.seconds
        return (requests is not None and len(self.measured) >= requests) or (
            seconds is not None and self._round_is_over() and self.span_s >= seconds
        )

    def _round_is_over(self) -> bool:
        count = len(self.measured)
        return count > 0 and not (self.whole_rounds and count % self.round_size)

    def _agrees_with_last_round(self) -> bool:
        size = self.round_size
        if len(self.warm_up) < 2 * size or len(self.warm_up) % size:
            return False
        last, before = self.warm_up[-size:], self.warm_up[-2 * size : -size]
        if any(exchange.failure for exchange in (*last, *before)):
            return False
        now, then = (median(e.e2e_s for e in batch) for batch in (last, before))
        return abs(now - then) <= STABLE_WITHIN * then

    def _progress(self) -> Progress:
        failed = sum(e.failure is not None for e in (*self.warm_up, *self.measured))
        if self.warming_up:
            return Progress("warm-up", len(self.warm_up), self.warm_up_limit, failed)
        return Progress("measurement", len(self.measured), self.amount.requests, failed)
