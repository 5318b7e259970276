"""The record of one validation, kept as JSON."""

from typing import Literal

from pydantic import AwareDatetime, Field, model_validator

from tpdeploy.bounds import Count, Figure
from tpdeploy.harness.load.exchange import Exchange, FailureKind
from tpdeploy.harness.measure.comparison import Row, Verdict
from tpdeploy.harness.measure.metrics import Measured
from tpdeploy.harness.measure.teaching import NOT_KNOWN, Reason
from tpdeploy.planner.plan import DeploymentPlan, Prediction
from tpdeploy.planner.workload import Workload
from tpdeploy.profiles.record import Record, Text


class RequestRecord(Record):
    """One measured request."""

    sent_s: float = Field(description="seconds after the end of the warm-up; negative: before it")
    ttft_ms: Figure | None = None
    e2e_ms: Figure | None = None
    output_tokens: Count
    failure: FailureKind | None = None
    message: str | None = Field(default=None, description="of the failure")


class WarmUp(Record):
    """What was sent before the measurement and is not counted."""

    requests: Count
    failed: Count
    stable: bool = Field(description="whether two rounds of requests took the same time")
    seconds: float | None = Field(default=None, ge=0, description="how long; None: not known")


class ValidationReport(Record):
    """What was asked of which endpoint, what came of it, and the verdict."""

    version: Literal[1] = 1
    started_at: AwareDatetime
    endpoint: Text = Field(description="what was measured; of another tool's run the file")
    measured_by: Text = Field(
        default="tpdeploy", description="whose figures they are; others' are not of this machine"
    )
    not_learned: Reason | None = Field(
        default=NOT_KNOWN, description="why plans learn nothing from it; None: they do"
    )
    not_comparable: Reason | None = Field(
        default=None, description="why the prediction is not for what was sent; None: it is"
    )
    versions: dict[str, str] = Field(description="of tpdeploy, Python, and the server if it says")
    plan: DeploymentPlan
    workload: Workload = Field(description="what was sent; the plan's unless overridden")
    seed: int | None = Field(description="of the prompts and arrivals; None: not known")
    definitions: dict[str, str]
    warm_up: WarmUp | None = Field(description="None: not known")
    measured: Measured
    engine_ms: dict[str, float] = Field(
        default_factory=dict,
        description="means of the engine's own clocks since the warm-up; empty: it does not tell",
    )
    rows: tuple[Row, ...]
    expected: Prediction | None = Field(
        default=None, description="for what was sent; None: nothing was predicted for that"
    )
    verdict: Verdict
    requests: tuple[RequestRecord, ...]

    @model_validator(mode="before")
    @classmethod
    def _of_an_earlier_version(cls, content: object) -> object:
        """Earlier versions wrote `learnable` without checking what ran: taken as not known.

        What they expected was of replays, and their windows alone: left out.
        """
        if not isinstance(content, dict):
            return content
        expected = content.get("expected")
        windows_alone = isinstance(expected, dict) and "windows" in expected
        dropped = {"learnable", "expected" if windows_alone else ""}
        return {name: value for name, value in content.items() if name not in dropped}

    @property
    def warming_up(self) -> bool:
        """Whether what was measured may still have been warming up.

        Latency had not settled; or, at a rate, fewer requests had arrived than are in flight
        later: the warm-up was shorter than a mean answer. A recording begins with a server that has
        nothing to do, as its prediction does.
        """
        if self.warm_up is None or self.workload.recording:
            return False
        seconds = self.warm_up.seconds
        short = seconds is not None and seconds < self.measured.e2e_ms.mean / 1000
        return not self.warm_up.stable or (self.workload.rate is not None and short)


def request_record(exchange: Exchange, since: float) -> RequestRecord:
    """The lasting part of an exchange, `since` (monotonic, s) being the end of the warm-up."""
    failure = exchange.failure
    return RequestRecord(
        sent_s=exchange.sent - since,
        ttft_ms=exchange.ttft_s * 1000 if exchange.arrivals else None,
        e2e_ms=exchange.e2e_s * 1000 if exchange.arrivals else None,
        output_tokens=exchange.output_tokens,
        failure=failure.kind if failure else None,
        message=failure.message if failure else None,
    )
