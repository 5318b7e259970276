"""Cost: what output tokens cost at the price of a device."""

from tpdeploy.planner.inputs import PlanInputs
from tpdeploy.planner.plan import Cost, Estimate
from tpdeploy.planner.search.evaluation import Candidate

SECONDS_PER_HOUR = 3600


def dollars_per_million_tokens(
    devices: int, dollars_per_device_hour: float, tokens_per_s: float
) -> float:
    """Dollars for 1,000,000 output tokens.

    >>> dollars_per_million_tokens(8, 2.25, 5000)
    1.0
    """
    return devices * dollars_per_device_hour / SECONDS_PER_HOUR / tokens_per_s * 1e6


def cost_of(inputs: PlanInputs, candidate: Candidate) -> Cost | None:
    """Cost of the split's tokens, without idle devices; None without a price."""
    price = inputs.gpu_price_per_hour
    if price is None:
        return None
    devices, rate = candidate.parallelism.devices, candidate.prediction.output_tokens_per_s
    dearest, value, cheapest = (
        dollars_per_million_tokens(devices, price, tokens)
        for tokens in (rate.low, rate.value, rate.high)
    )
    estimate = Estimate(value=value, low=cheapest, high=dearest, source=rate.source)
    return Cost(device_price_per_hour=price, per_million_output_tokens=estimate)
