"""Serving metrics from exchanges: latencies, rates, goodput, errors."""

from collections import Counter
from collections.abc import Sequence

from pydantic import Field, model_validator

from tpdeploy.bounds import LEAST_TTFT_MS, MOST_FIGURE, MOST_RATE, Count, Figure
from tpdeploy.harness.load.exchange import Exchange
from tpdeploy.harness.measure.confidence import Interval, mean_interval, percentile_interval
from tpdeploy.planner.plan import Statistics, Timeline
from tpdeploy.planner.serving.percentiles import SHARES, percentile, statistics_ms
from tpdeploy.planner.workload import Workload
from tpdeploy.profiles.record import Record

DEFINITIONS = {
    "TTFT": "from when a request was due to its first token, waiting included; a request in flight "
    "is due when it is sent, one on a schedule at its time, however late the client is",
    "TPOT": "(end-to-end - TTFT) / (output tokens - 1)",
    "ITL": "between one arrival of tokens and the next, shared by the tokens that arrive",
    "end-to-end": "from when a request was due to its last token",
    "rates": "requests that ended after the warm-up, by the time from its end to the last one's",
    "goodput": "requests/s that each met every target, whatever statistic the target names",
    "percentiles": "straight between the two nearest requests (linear interpolation)",
    "95 %": "confidence intervals: of the mean 1.96 standard errors, of a percentile the requests "
    "between which it lies in 95 % of samples of this size (binomial); - where so few do not tell",
}


class Spread(Statistics):
    """A measured distribution, in ms, with the 95 % confidence interval of each statistic."""

    p99: Figure
    confidence: dict[str, Interval] = Field(
        description="low and high; None: so few requests do not tell it; empty: not known"
    )


class Measured(Record):
    """What was measured; latencies in ms over the requests that succeeded."""

    requests: Count = Field(description="that succeeded")
    failures: dict[str, Count] | None = Field(
        description="requests that failed, by kind; None: not counted"
    )
    span_s: float = Field(gt=0, le=MOST_FIGURE, description="what the rates are divided by")
    ttft_ms: Spread
    tpot_ms: Spread | None = Field(description="None: one output token")
    itl_ms: Spread | None = Field(description="None: one output token, or not known")
    e2e_ms: Spread
    requests_per_s: float = Field(ge=0, le=MOST_RATE)
    output_tokens_per_s: Figure
    total_tokens_per_s: Figure = Field(description="prompt and output tokens")
    other_length: Count = Field(
        default=0, description="answers of another length than asked, which count as well"
    )
    goodput_per_s: Figure | None = Field(description="None: no target stated, or not known")
    timeline: Timeline | None = Field(default=None, description="None: not of a recording")
    client_lag_p99_ms: float | None = Field(
        default=None, description="what 99 % of those delays do not exceed; None: not known"
    )
    client_lag_ms: float | None = Field(
        description="largest delay of a request by the client itself; None: not known"
    )

    @model_validator(mode="after")
    def _took_time(self) -> "Measured":
        if min(self.ttft_ms.mean, self.ttft_ms.p50) < LEAST_TTFT_MS:
            raise ValueError("a time to first token of 0 was not measured")
        return self

    @property
    def failed(self) -> int:
        """Requests known to have failed."""
        return sum((self.failures or {}).values())


def measure(exchanges: Sequence[Exchange], span_s: float, workload: Workload) -> Measured:
    """The figures of `exchanges`, of which at least one succeeded, seen over `span_s` seconds."""
    good = [exchange for exchange in exchanges if exchange.failure is None]
    output = sum(exchange.output_tokens for exchange in good)
    prompts = sum(exchange.prompt_tokens or workload.input_tokens for exchange in good)
    tpot = tuple(e.tpot_s for e in good if e.tpot_s is not None)
    gaps = tuple(gap for exchange in good for gap in exchange.gaps_s)
    lags = sorted(exchange.sent - exchange.due for exchange in good)
    return Measured(
        requests=len(good),
        failures=dict(Counter(e.failure.kind for e in exchanges if e.failure)),
        span_s=span_s,
        ttft_ms=spread([e.ttft_s for e in good]),
        tpot_ms=spread(tpot) if tpot else None,
        itl_ms=spread(gaps) if gaps else None,
        e2e_ms=spread([e.e2e_s for e in good]),
        requests_per_s=len(good) / span_s,
        output_tokens_per_s=output / span_s,
        total_tokens_per_s=(output + prompts) / span_s,
        other_length=sum(e.asked not in {0, e.output_tokens} for e in good),
        goodput_per_s=_goodput(good, span_s, workload),
        client_lag_ms=1000 * lags[-1],
        client_lag_p99_ms=1000 * percentile(lags, 0.99),
    )


def spread(seconds: Sequence[float]) -> Spread:
    """Statistics of `seconds`, in ms, with the confidence interval of each."""
    ordered = sorted(value * 1000 for value in seconds)
    confidence = {"mean": mean_interval(ordered)}
    for name, share in SHARES.items():
        confidence[name] = percentile_interval(ordered, share)
    return Spread(**statistics_ms(seconds), confidence=confidence)


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
