"""The frontier holds what nothing beats, and only that."""

from hypothesis import given
from hypothesis import strategies as st

from tests.planner.inputs import ask
from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.plan import ParetoPoint
from tpdeploy.planner.search.pareto import LOADS, frontier, not_beaten, sweep
from tpdeploy.planner.search.search import plan, search


def point(tpot_ms: float, tokens: float) -> ParetoPoint:
    return ParetoPoint(
        parallelism=Parallelism(tensor=1),
        load="1 request in flight",
        output_tokens_per_s_per_device=tokens,
        tpot_ms=tpot_ms,
        ttft_ms=1,
        meets_targets=True,
    )


@given(st.lists(st.tuples(st.floats(1, 100), st.floats(1, 100)), min_size=1, max_size=20))
def test_no_point_is_beaten_and_every_other_is(values: list[tuple[float, float]]) -> None:
    """What is kept trades one measure for the other; what is dropped is no better in either."""
    points = [point(tpot, tokens) for tpot, tokens in values]
    kept = not_beaten(points)
    tokens = [p.output_tokens_per_s_per_device for p in kept]
    assert [p.tpot_ms for p in kept] == sorted(p.tpot_ms for p in kept)
    assert tokens == sorted(set(tokens))
    for p in points:
        assert any(
            k.tpot_ms <= p.tpot_ms
            and k.output_tokens_per_s_per_device >= p.output_tokens_per_s_per_device
            for k in kept
        )


def test_the_plan_holds_the_frontier_of_its_load() -> None:
    """The quickest split is on it, and all points are of the stated load."""
    inputs = ask("llama-8b", "4xH100")
    outcome = search(inputs)
    chosen = plan(inputs, outcome)
    assert chosen.pareto == frontier(inputs, outcome.ranked)
    assert {p.load for p in chosen.pareto} == {"32 requests in flight"}
    quickest = min(c.prediction.tpot_ms.value for c in outcome.ranked)
    assert chosen.pareto[0].tpot_ms == quickest


def test_a_sweep_reaches_from_one_request_to_many() -> None:
    """Over several loads the frontier is longer, and its throughput spans a wide range."""
    inputs = ask("llama-8b", "4xH100")
    outcome = search(inputs)
    wide = sweep(inputs, outcome.ranked)
    assert len(wide) > len(frontier(inputs, outcome.ranked))
    assert wide[0].load == f"{LOADS[0]} request in flight"
    first, last = wide[0], wide[-1]
    assert last.output_tokens_per_s_per_device > 10 * first.output_tokens_per_s_per_device
