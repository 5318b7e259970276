"""What tokens cost is the devices' price over what they serve."""

import pytest

from tests.planner.inputs import ask
from tpdeploy.planner.search.cost import cost_of, dollars_per_million_tokens
from tpdeploy.planner.search.search import search


def test_a_million_tokens_cost_the_hours_they_take() -> None:
    """8 GPUs at $2.25 an hour are half a cent a second; at 5,000 tokens/s that is $1 a million."""
    assert dollars_per_million_tokens(8, 2.25, 5000) == pytest.approx(1)


@pytest.mark.slow
def test_the_range_of_the_cost_is_that_of_the_throughput() -> None:
    """The dearest is at the lowest throughput; without a price there is no cost."""
    inputs = ask("llama-8b", "2xH100", gpu_price_per_hour=3)
    best = search(inputs).ranked[0]
    cost = cost_of(inputs, best)
    assert cost
    rate, tokens = best.prediction.output_tokens_per_s, cost.per_million_output_tokens
    devices = best.parallelism.devices
    assert tokens.high == pytest.approx(dollars_per_million_tokens(devices, 3, rate.low))
    assert tokens.low == pytest.approx(dollars_per_million_tokens(devices, 3, rate.high))
    assert cost_of(ask("llama-8b", "2xH100"), best) is None
