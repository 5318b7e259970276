"""What users send: cached prefixes and drafted tokens change what is computed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tpdeploy.planner.workload import Speculation, Workload


@pytest.mark.parametrize(
    ("tokens", "acceptance", "expected"),
    [(3, 0.0, 1.0), (3, 1.0, 4.0), (1, 0.5, 1.5), (3, 0.8, 2.952), (5, 0.8, 3.68928)],
)
def test_drafting_gains_the_published_number_of_tokens(
    tokens: int, acceptance: float, expected: float
) -> None:
    """(1 - A^(N+1)) / (1 - A), from one token to N + 1."""
    gained = Speculation(tokens=tokens, acceptance=acceptance).tokens_per_step
    assert gained == pytest.approx(expected)


@given(tokens=st.integers(1, 16), acceptance=st.floats(0, 1))
def test_drafting_more_never_gains_fewer(tokens: int, acceptance: float) -> None:
    """Each further drafted token can only add, and never more than itself."""
    fewer = Speculation(tokens=tokens, acceptance=acceptance).tokens_per_step
    more = Speculation(tokens=tokens + 1, acceptance=acceptance).tokens_per_step
    assert fewer <= more + 1e-9 <= fewer + 1 + 2e-9


@pytest.mark.parametrize(("hits", "computed"), [(0.0, 1000), (0.25, 750), (0.9, 100), (1.0, 1)])
def test_cached_prompt_tokens_are_not_computed(hits: float, computed: int) -> None:
    """All but the share found in the cache, and at least the last token."""
    load = Workload(input_tokens=1000, concurrency=1, prefix_hit_rate=hits)
    assert load.computed_tokens == computed
    assert load.context_tokens == 1256


@pytest.mark.parametrize(
    "values", [{"prefix_hit_rate": 1.5}, {"speculation": {"tokens": 0, "acceptance": 0.5}}]
)
def test_impossible_loads_are_refused(values: dict[str, object]) -> None:
    """More hits than prompt, or nothing drafted."""
    with pytest.raises(ValidationError):
        Workload.model_validate({"concurrency": 1, **values})
