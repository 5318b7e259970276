"""The share of a step that all-reduces take, by width."""

from tests.planner.inputs import ask
from tpdeploy.planner.performance.communication import cost_by_width, decoding
from tpdeploy.planner.search.search import plan, search
from tpdeploy.planner.workload import Workload


def test_the_share_of_all_reduces_grows_with_the_width() -> None:
    """None on one GPU, more on each wider group, in decode steps as in prefills."""
    inputs = ask("llama-70b", "8xH100")
    costs = cost_by_width(inputs, plan(inputs, search(inputs)))
    assert [cost.tensor for cost in costs] == [1, 2, 4, 8]
    for steps in ([c.decode for c in costs], [c.prefill for c in costs]):
        shares = [step.communication / step.total for step in steps]
        assert shares[0] == 0
        assert shares == sorted(set(shares))


def test_an_interconnect_that_is_slower_takes_a_larger_share() -> None:
    """The same GPUs and step over PCIe spend more of it in all-reduces."""
    shares = []
    for fabric in (None, "pcie"):
        inputs = ask("llama-8b", "2xH100-NVL", interconnect=fabric)
        step = cost_by_width(inputs, plan(inputs, search(inputs)))[-1].decode
        shares.append(step.communication / step.total)
    assert shares[0] < shares[1]


def test_the_batch_is_a_replicas_share_of_the_clients() -> None:
    """Two replicas of 32 clients decode 16 sequences each."""
    inputs = ask("llama-8b", "2xH100", workload=Workload(concurrency=32), tensor=1)
    made = plan(inputs, search(inputs))
    assert made.parallelism.replicas == 2
    assert decoding(made) == 16


def test_at_a_rate_the_batch_is_what_is_in_flight() -> None:
    """By Little's law: twice the requests per second, at least twice as many at once."""
    batches = []
    for rate in (4, 8):
        inputs = ask("llama-8b", "1xH100", workload=Workload(rate=rate))
        batches.append(decoding(plan(inputs, search(inputs))))
    assert batches[1] >= 2 * batches[0] - 1
