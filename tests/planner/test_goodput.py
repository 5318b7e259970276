"""Goodput: the requests/s that each meet every target, as predicted."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tpdeploy.api.functions import plan
from tpdeploy.api.options import Options
from tpdeploy.errors import InfeasibleError, InputError
from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.planner.search.highest_rate import PRECISION
from tpdeploy.planner.serving.prediction import goodput, met
from tpdeploy.planner.serving.simulation import Served
from tpdeploy.planner.workload import Target, Workload

SERVED = Served(
    ttft_s=(0.1, 0.3, 0.1, 0.5),
    tpot_s=(0.01, 0.01, 0.03, 0.05),
    e2e_s=(1.0,) * 4,
    requests_per_s=2.0,
    output_tokens_per_s=200.0,
    waiting_s=0.0,
    running_s=1.0,
    decode_sequences=1.0,
    decode_context=100.0,
)
LOAD = Workload(concurrency=2, ttft=Target(ms=200), tpot=Target(ms=20, at="p99"))


def test_a_request_must_meet_every_target() -> None:
    """One of four misses TTFT, one TPOT, one both; two replicas serve 4 requests/s."""
    found = goodput(LOAD, SERVED, 2, (0.0, 0.0), "model")
    assert found
    assert found.value == found.low == found.high == 4.0 / 4


@pytest.mark.parametrize(
    ("targets", "share"),
    [({"tpot": None}, 0.5), ({"ttft": None}, 0.5), ({"ttft": Target(ms=1000)}, 0.5)],
)
def test_a_target_that_was_not_stated_is_met(targets: dict[str, object], share: float) -> None:
    """Each target by itself."""
    assert met(LOAD.model_copy(update=targets), SERVED) == share


def test_without_a_target_or_a_steady_state_there_is_none() -> None:
    """Where the queue grows all requests miss their targets at last."""
    assert goodput(Workload(concurrency=2), SERVED, 1, (0.1, 0.1), "model") is None
    assert goodput(LOAD, replace(SERVED, full_per_s=1.0), 1, (0.1, 0.1), "model") is None


@given(st.floats(0, 3), st.floats(0, 3))
def test_a_larger_error_has_a_wider_range(first: float, later: float) -> None:
    """The range holds the value, and never more than the requests/s at their high end."""
    found, exact = (goodput(LOAD, SERVED, 1, e, "x") for e in ((first, later), (0.0, 0.0)))
    assert found
    assert exact
    assert found.low <= exact.low <= found.value <= found.high <= 2.0 * (1 + later)


def test_a_plan_with_targets_says_its_goodput() -> None:
    """At most the requests/s; none without a target."""
    found = plan("llama-8b", "1xL40S", concurrency=8, ttft_ms=1000, tpot_ms=45).prediction
    assert found.goodput_per_s
    assert 0 < found.goodput_per_s.value <= found.requests_per_s.value
    assert plan("llama-8b", "1xL40S", concurrency=8).prediction.goodput_per_s is None


TARGETS = Options(ttft_ms=500, tpot_ms=30, percentile="p90", max_num_batched_tokens=2048)


@pytest.fixture(scope="module")
def highest() -> DeploymentPlan:
    """A plan for the most that two GPUs serve within targets."""
    options = TARGETS | Options(backend="vllm", optimize="goodput")
    return plan("llama-8b", gpus="2xL40S", **options)


def meets(rate: float, tensor: int) -> bool:
    """Whether a width is expected to keep up with a rate and to meet both targets."""
    made = plan(
        "llama-8b", "2xL40S", backend="vllm", rate=rate, tp=tensor, max_num_batched_tokens=2048
    )
    told = made.prediction
    assert told.ttft_distribution
    assert told.tpot_distribution
    return told.ttft_distribution.p90 <= 500 and told.tpot_distribution.p90 <= 30


@pytest.mark.slow
def test_the_highest_rate_is_within_the_targets(highest: DeploymentPlan) -> None:
    """The chosen split meets them there, as well as it is known; at a tenth more no split does."""
    rate = highest.workload.rate
    assert rate
    assert meets(rate * (1 - PRECISION), highest.parallelism.tensor)
    assert not any(meets(rate * 1.1, tensor) for tensor in (1, 2))


@pytest.mark.slow
def test_what_breaks_above_the_highest_rate_is_said(highest: DeploymentPlan) -> None:
    """With that rate, before anything else."""
    first = highest.why[0]
    assert f"{highest.workload.rate:g} requests/s is the highest rate within the targets" in first
    assert "misses the target" in first


def test_targets_that_a_request_alone_misses_are_refused() -> None:
    """There is no rate then."""
    with pytest.raises(InfeasibleError, match="misses the target 5 ms"):
        plan("llama-8b", gpus="1xL40S", backend="vllm", optimize="goodput", ttft_ms=5)


@pytest.mark.parametrize(
    ("gpus", "options", "said"),
    [
        ("8xH100", Options(), "needs a target for TTFT or TPOT"),
        ("H100", Options(ttft_ms=500), "say how many devices there are"),
        ("8xH100", Options(ttft_ms=500, rate=3), "leave concurrency, rate and trace out"),
    ],
)
def test_goodput_needs_targets_and_devices_and_no_load(
    gpus: str, options: Options, said: str
) -> None:
    """Each refused in a line."""
    with pytest.raises(InputError, match=said):
        plan("llama-8b", gpus, **(options | Options(optimize="goodput")))
