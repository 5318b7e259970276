"""How lengths are stated, and the distributions that the statements stand for."""

from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tpdeploy.errors import InputError
from tpdeploy.planner.margins import Even, LogNormal, Margin, Quantiles, parse_tokens

SHARES = [(number + 0.5) / 500 for number in range(500)]
TOKENS = st.integers(1, 10**8)


@given(TOKENS)
def test_a_number_is_a_mean(tokens: int) -> None:
    """As text or as a number, with blanks around it."""
    assert parse_tokens("--x", tokens) == parse_tokens("--x", f" {tokens} ") == tokens


@given(TOKENS, TOKENS)
def test_two_numbers_are_a_range(one: int, other: int) -> None:
    """Both ends belong to it; the lower stands first."""
    low, high = sorted((one, other))
    found = parse_tokens("--x", f"{low}..{high}")
    assert found == Even(low, high)
    assert low <= found.at(0.001) <= found.at(0.999) <= high
    if low < high:
        with pytest.raises(InputError, match="the first must not be above the second"):
            parse_tokens("--x", f"{high}..{low}")


@settings(max_examples=20, deadline=None)
@given(st.integers(100, 10**6), st.floats(1, 5.2))
def test_a_log_normal_has_the_mean_and_the_p95(mean: int, ratio: float) -> None:
    """Within one percent of both, and none is longer than six times the p95."""
    p95 = round(mean * ratio)
    found = parse_tokens("--x", f"mean={mean},p95={p95}")
    assert isinstance(found, LogNormal)
    assert fmean(found.at(share) for share in SHARES) == pytest.approx(mean, rel=0.01)
    assert found.at(0.95) == pytest.approx(p95, rel=0.01)
    assert found.at(SHARES[-1]) < 6 * p95


@given(st.text("0123456789.+-=,emanp \u0663x", max_size=24))
def test_any_text_is_tokens_or_refused_in_one_line(text: str) -> None:
    """Nothing else is raised, and the line names the option."""
    try:
        found = parse_tokens("--input-tokens", text)
    except InputError as error:
        assert str(error).startswith("--input-tokens")
        assert "\n" not in str(error)
    else:
        assert isinstance(found, int | Even | LogNormal)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0", "--x 0: must be greater than 0"),
        ("-3", "--x -3: must be greater than 0"),
        ("1000000000", "must be less than or equal to 100000000"),
        ("0..5", "must be greater than 0"),
        ("mean=100,p95=99", "give a p95 from 100 to 529 for that mean"),
        ("mean=100,p95=600", "give a p95 from 100 to 529 for that mean"),
        ("p95=100,mean=50", r"give tokens as 1024, 512\.\.4096 .* or mean=1200,p95=6000"),
        ("1e3", "give tokens as"),
        ("", "give tokens as"),
    ],
)
def test_what_cannot_be_is_refused(text: str, words: str) -> None:
    """With what would work."""
    with pytest.raises(InputError, match=words):
        parse_tokens("--x", text)


@pytest.mark.parametrize(
    "margin",
    [Even(5, 90), LogNormal(1200, 6000), Quantiles((0, 0.5, 1), (1, 10, 1000))],
)
def test_more_requests_never_end_earlier(margin: Margin) -> None:
    """The length rises with the share of requests that do not exceed it."""
    lengths = [margin.at(share) for share in SHARES]
    assert lengths == sorted(lengths)


def test_between_quantiles_lengths_are_even() -> None:
    """Each known quantile is met, and half the way there is half the length more."""
    margin = Quantiles((0, 0.5, 1), (1, 11, 1011))
    assert [margin.at(share) for share in (0.25, 0.5, 0.75)] == [6, 11, 511]
