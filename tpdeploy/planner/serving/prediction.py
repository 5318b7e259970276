"""From simulated requests to a prediction with ranges and sources."""

from math import inf
from statistics import fmean

from tpdeploy.planner.inputs import PlanInputs, share_of_load
from tpdeploy.planner.model.attention.kinds import main_attention
from tpdeploy.planner.performance.step_model import StepModel
from tpdeploy.planner.plan import Distribution, Estimate, Prediction
from tpdeploy.planner.serving.percentiles import requests_needed, statistics_ms
from tpdeploy.planner.serving.simulation import Served
from tpdeploy.planner.workload import Workload
from tpdeploy.profiles.devices.accelerator import ModelKind
from tpdeploy.profiles.models.shape import ModelShape

# A judgement: what engines lose without CUDA graphs is estimated from two reports (step_model.py).
EAGER_ERROR = 1.0


def predict(inputs: PlanInputs, model: StepModel, served: Served, replicas: int) -> Prediction:
    """The prediction for all replicas from what one replica served."""
    workload = inputs.workload
    efficiency = inputs.cluster.efficiency
    least = EAGER_ERROR if inputs.graphless else 0.0
    known = efficiency.errors.of(kind_of_model(inputs.shape), joined=model.joined)
    first, error = max(known.ttft, least), max(known.tpot, least)
    source = _source(inputs, model)
    busy = _busy_replicas(inputs, replicas)
    ttft_at = workload.ttft.at if workload.ttft else "p50"
    tpot_at = workload.tpot.at if workload.tpot else "p50"
    return Prediction(
        ttft_ms=estimate(statistics_ms(served.ttft_s)[ttft_at], first, source),
        tpot_ms=estimate(statistics_ms(served.tpot_s)[tpot_at], error, source),
        output_tokens_per_s=estimate(served.output_tokens_per_s * busy, error, source),
        requests_per_s=estimate(served.requests_per_s * busy, error, source),
        goodput_per_s=goodput(workload, served, busy, (first, error), source),
        ttft_distribution=distribution(served.ttft_s),
        tpot_distribution=distribution(served.tpot_s),
        e2e_distribution=distribution(served.e2e_s),
        confidence="low" if inputs.graphless else inputs.cluster.efficiency.errors.confidence,
    )


def kind_of_model(shape: ModelShape) -> ModelKind:
    """What ranges distinguish: attention on a latent, else experts or none.

    The kernels and the balance of each are measured apart, and missed by different amounts.
    """
    if main_attention(shape).on_latent:
        return "latent"
    return "experts" if shape.experts else "dense"


def estimate(value: float, error: float, source: str) -> Estimate:
    """`value` with a range of a factor of 1 + `error` in each direction."""
    return Estimate(value=value, low=value / (1 + error), high=value * (1 + error), source=source)


def goodput(
    workload: Workload, served: Served, replicas: float, errors: tuple[float, float], source: str
) -> Estimate | None:
    """Requests/s of so many replicas that each meet every target, whatever statistic it names.

    `errors` are those of TTFT and TPOT. At the low end of the range every latency
    is at the high end of its own and requests/s at the low one; at the high end it is the reverse.
    """
    if not served.keeps_up or (workload.ttft is None and workload.tpot is None):
        return None
    rate, (first, later) = served.requests_per_s * replicas, errors
    slow, fast = (1 + first, 1 + later), (1 / (1 + first), 1 / (1 + later))
    return Estimate(
        value=rate * met(workload, served),
        low=rate / (1 + later) * met(workload, served, *slow),
        high=rate * (1 + later) * met(workload, served, *fast),
        source=source,
    )


def met(workload: Workload, served: Served, first: float = 1.0, later: float = 1.0) -> float:
    """The share of requests that meet every target, with TTFT and TPOT times these factors."""
    ttft = workload.ttft.ms / 1e3 / first if workload.ttft else inf
    tpot = workload.tpot.ms / 1e3 / later if workload.tpot else inf
    pairs = zip(served.ttft_s, served.tpot_s, strict=True)
    return fmean(wait <= ttft and each <= tpot for wait, each in pairs)


def distribution(seconds: tuple[float, ...]) -> Distribution:
    """Statistics, in ms; no p99 of fewer requests than tell it."""
    told: dict[str, float | None] = {**statistics_ms(seconds)}
    if len(seconds) < requests_needed("p99"):
        told["p99"] = None
    return Distribution(**told, requests=len(seconds))


def _busy_replicas(inputs: PlanInputs, replicas: int) -> float:
    """Replicas with as much load as the one simulated; a fraction when it does not divide."""
    concurrency = inputs.workload.concurrency
    if concurrency is None:
        return replicas
    return concurrency / (share_of_load(inputs.workload, replicas).concurrency or 1)


def _source(inputs: PlanInputs, model: StepModel) -> str:
    efficiency = inputs.cluster.efficiency
    architecture = inputs.cluster.accelerator.architecture
    parts = [
        f"model: roofline, {architecture} efficiencies ({efficiency.errors.confidence} confidence)"
    ]
    if efficiency.engine != inputs.engine.name:
        parts.append(f"those of {efficiency.engine}, since there are none of {inputs.engine.name}")
    kernels = efficiency.kernels.source
    if kernels.startswith("taken over") and efficiency.engine not in kernels:
        parts += [f"kernels {kernels}", f"host: {efficiency.serving.source}"]
    parts += inputs.cluster.measured
    if inputs.graphless:
        parts.append("without CUDA graphs: estimated (low confidence)")
    parts += model.sources
    return "; ".join(parts)
