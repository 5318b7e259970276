"""From exchanges to the figures of serving: latencies, rates, goodput, errors."""

from collections import Counter
from collections.abc import Sequence

from pydantic import Field

from tpdeploy.harness.exchange import Exchange
from tpdeploy.planner.plan import Distribution
from tpdeploy.planner.prediction import distribution
from tpdeploy.planner.workload import Workload
from tpdeploy.profiles.record import Record

DEFINITIONS = {
    "TTFT": "from sending a request to its first token, waiting included",
    "TPOT": "(end-to-end - TTFT) / (output tokens - 1)",
    "ITL": "between one arrival of tokens and the next, shared by the tokens that arrive",
    "end-to-end": "from sending a request to its last token",
    "rates": "requests that ended after the warm-up, by the time from its end to the last one's",
    "goodput": "requests/s that each met every target, whatever statistic the target names",
    "percentiles": "straight between the two nearest requests (linear interpolation)",
}


class Measured(Record):
    """What was measured; latencies in ms over the requests that succeeded."""

    requests: int = Field(ge=0, description="that succeeded")
    failures: dict[str, int] = Field(description="requests that failed, by kind")
    span_s: float = Field(gt=0, description="what the rates are divided by")
    ttft_ms: Distribution
    tpot_ms: Distribution | None = Field(description="None: one output token")
    itl_ms: Distribution | None = Field(description="None: one output token")
    e2e_ms: Distribution
    requests_per_s: float
    output_tokens_per_s: float
    total_tokens_per_s: float = Field(description="prompt and output tokens")
    goodput_per_s: float | None = Field(description="None: no target stated")
    client_lag_ms: float = Field(description="largest delay of a request by the client itself")

    @property
    def failed(self) -> int:
        """Requests that failed."""
        return sum(self.failures.values())


def measure(exchanges: Sequence[Exchange], span_s: float, workload: Workload) -> Measured:
    """The figures of `exchanges`, of which at least one succeeded, seen over `span_s` seconds."""
    good = [exchange for exchange in exchanges if exchange.failure is None]
    output = sum(exchange.output_tokens for exchange in good)
    tpot = tuple(e.tpot_s for e in good if e.tpot_s is not None)
    gaps = tuple(gap for exchange in good for gap in exchange.gaps_s)
    return Measured(
        requests=len(good),
        failures=dict(Counter(e.failure.kind for e in exchanges if e.failure)),
        span_s=span_s,
        ttft_ms=distribution(tuple(e.ttft_s for e in good)),
        tpot_ms=distribution(tpot) if tpot else None,
        itl_ms=distribution(gaps) if gaps else None,
        e2e_ms=distribution(tuple(e.e2e_s for e in good)),
        requests_per_s=len(good) / span_s,
        output_tokens_per_s=output / span_s,
        total_tokens_per_s=(output + len(good) * workload.input_tokens) / span_s,
        goodput_per_s=_goodput(good, span_s, workload),
        client_lag_ms=1000 * max(exchange.sent - exchange.due for exchange in good),
    )


def _goodput(good: Sequence[Exchange], span_s: float, workload: Workload) -> float | None:
    if workload.ttft is None and workload.tpot is None:
        return None
    return sum(_meets_targets(exchange, workload) for exchange in good) / span_s


def _meets_targets(exchange: Exchange, workload: Workload) -> bool:
    pairs = [(exchange.ttft_s, workload.ttft), (exchange.tpot_s, workload.tpot)]
    return all(
        seconds * 1000 <= target.ms
        for seconds, target in pairs
        if seconds is not None and target is not None
    )
