"""Prompts have exactly the tokens asked for and share no prefix."""

from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from tpdeploy.harness.prompts import random_prompts


@given(st.integers(100, 200_000), st.integers(1, 300), st.integers(0, 9))
def test_length_range_and_difference(vocab: int, tokens: int, seed: int) -> None:
    """Exact length, no id of the outer tenths, and no two that begin with the same token."""
    prompts = list(islice(random_prompts(vocab, tokens, seed), 50))
    assert {len(prompt) for prompt in prompts} == {tokens}
    assert all(vocab // 10 <= t < vocab - vocab // 10 for prompt in prompts for t in prompt)
    assert len({prompt[0] for prompt in prompts}) == 50


def test_a_seed_repeats_its_prompts() -> None:
    """The same seed gives the same load, another seed another."""

    def three(seed: int) -> list[list[int]]:
        return list(islice(random_prompts(1000, 20, seed), 3))

    assert three(1) == three(1) != three(2)
