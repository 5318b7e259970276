"""Requests one by one: drawn from margins, named, or taken from many."""

from collections import Counter
from itertools import islice
from statistics import correlation, fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tpdeploy.errors import InputError
from tpdeploy.planner.lengths import DRAWN, Lengths, drawn, named, representative
from tpdeploy.planner.margins import Even
from tpdeploy.planner.serving.simulation import drawn_lengths
from tpdeploy.planner.workload import Workload, fields_of
from tpdeploy.profiles.workloads import workload_profiles

PAIRS = st.lists(st.tuples(st.integers(1, 5000), st.integers(1, 5000)), min_size=1, max_size=1100)
FEW = Lengths(name="few", source="here", pairs=((10, 1), (20, 2), (60, 3)))


@pytest.mark.parametrize("correlated", [-0.7, 0.0, 0.5])
def test_drawn_requests_have_their_margins_and_their_correlation(correlated: float) -> None:
    """Means exactly, whatever the correlation; the order is one of chance, and always the same."""
    pairs = drawn(Even(100, 300), Even(1000, 2000), correlated, name="x", source="y").pairs
    assert len(pairs) == DRAWN
    assert fmean(prompt for prompt, _ in pairs) == pytest.approx(200, rel=0.001)
    assert fmean(answer for _, answer in pairs) == pytest.approx(1500, rel=0.001)
    assert correlation(*zip(*pairs, strict=True)) == pytest.approx(correlated, abs=0.05)
    assert list(pairs) != sorted(pairs)
    assert pairs == drawn(Even(100, 300), Even(1000, 2000), correlated, name="x", source="y").pairs


@pytest.mark.parametrize("profile", workload_profiles(), ids=lambda profile: profile.name)
def test_a_named_workload_is_as_long_as_its_source(profile: object) -> None:
    """The drawn requests have the means of the source's own ones within a tenth."""
    assert isinstance(profile, type(workload_profiles()[0]))
    prompt, answer = named(profile.name).means
    assert prompt == pytest.approx(profile.input.mean, rel=0.03)
    assert answer == pytest.approx(profile.output.mean, rel=0.1)


@settings(max_examples=25, deadline=None)
@given(PAIRS)
def test_few_of_many_are_pairs_of_them(rows: list[tuple[int, int]]) -> None:
    """No pair is new, none is there more often than in the rows, and the longest is there."""
    found = representative(rows, name="x", source="y")
    assert len(found.pairs) == min(len(rows), DRAWN)
    assert Counter(found.pairs) <= Counter(rows)
    assert found.longest == max(map(sum, rows))


def test_few_of_many_are_like_all() -> None:
    """Means, and how prompts and answers go together, of rows in which they do."""
    rows = [(n % 997 + 1, (n % 997) * 2 + n % 13 + 1) for n in range(20_000)]
    found = representative(rows, name="x", source="y")
    prompt, answer = found.means
    assert prompt == pytest.approx(fmean(row[0] for row in rows), rel=0.01)
    assert answer == pytest.approx(fmean(row[1] for row in rows), rel=0.01)
    assert correlation(*zip(*found.pairs, strict=True)) > 0.99


@settings(max_examples=25, deadline=None)
@given(PAIRS)
def test_a_plan_file_keeps_every_pair(rows: list[tuple[int, int]]) -> None:
    """What JSON has is read as what was written."""
    lengths = representative(rows, name="x", source="y")
    assert Lengths.model_validate_json(lengths.model_dump_json()) == lengths


@pytest.mark.parametrize("text", ["", "5", "5+", "5+0", "5+6+7", "a+b"])
def test_a_broken_pair_is_refused(text: str) -> None:
    """In a plan file that was edited."""
    with pytest.raises(ValidationError):
        Lengths.model_validate({"name": "x", "source": "y", "pairs": text})


def test_requests_that_are_too_long_are_left_out_and_counted() -> None:
    """Up to one in ten; more are another workload."""
    many = FEW.changed(pairs=FEW.pairs[:2] * 10 + FEW.pairs[2:])
    kept = many.within(60)
    assert kept.pairs == many.pairs[:-1]
    assert kept.left_out == 1
    assert "Left out: 4.8%, too long." in kept.words
    assert many.within(63) is many
    with pytest.raises(InputError, match=r"few: 33% of the requests are longer than the 60 tokens"):
        FEW.within(60)


def test_lengths_keep_their_shape_at_other_means() -> None:
    """Each in proportion, as a backtest has it."""
    assert FEW.of_means(60, 20).pairs == ((20, 10), (40, 20), (120, 30))


def test_a_workload_is_simulated_with_its_own_requests() -> None:
    """In order, and again."""
    load = Workload(**fields_of(FEW), concurrency=2)
    assert list(islice(drawn_lengths(load), 4)) == [*FEW.pairs, FEW.pairs[0]]
    assert (load.input_tokens, load.output_tokens) == FEW.means == (30, 2)
    assert load.longest_tokens == 63
    assert load.differs
    assert load.sizes == "few: 30 tokens in, 2 out"


@pytest.mark.parametrize("other", [{"input_tokens": 31}, {"length_spread": 0.2}])
def test_a_workload_has_the_means_of_its_requests(other: dict[str, float]) -> None:
    """And no spread besides."""
    with pytest.raises(ValidationError, match=next(iter(other))):
        Workload.model_validate({**fields_of(FEW), "concurrency": 2, **other})
