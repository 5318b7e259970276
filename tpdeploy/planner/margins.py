"""Margins: how the lengths of prompts, or of answers, are distributed."""

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import exp, log
from statistics import NormalDist
from typing import Protocol

from tpdeploy.bounds import MOST_TOKENS
from tpdeploy.errors import InputError, shown

NORMAL = NormalDist()
# No request is longer than four to six times the p95: contexts are limited, and so are
# log-normals that describe them. Without a limit none has a p95 above 3.87 times its mean; with
# this one up to 5.3 times.
LONGEST_OF_P95 = 4.0
# Standard deviations of the logarithm: at the first all are equal, at the second p95 / mean is at
# its highest.
NARROWEST, WIDEST = 1e-6, 3.0
HALVINGS = 60
FORMS = "1024, 512..4096 (evenly between) or mean=1200,p95=6000 (log-normal)"


class Margin(Protocol):
    """Lengths in tokens."""

    def at(self, share: float) -> float:
        """The length that `share` of the requests, above 0 and below 1, do not exceed."""


@dataclass(frozen=True)
class Even:
    """All lengths from `low` to `high` tokens alike."""

    low: float
    high: float

    def at(self, share: float) -> float:
        """The length that `share` of the requests do not exceed."""
        return self.low + (self.high - self.low) * share


@dataclass(frozen=True)
class LogNormal:
    """Lengths in tokens whose logarithms are normal, of at most six times the p95."""

    mean: float
    p95: float

    @classmethod
    def spans(cls, mean: float, p95: float) -> bool:
        """Whether there is one with that mean and 95th percentile."""
        return mean <= p95 <= mean * _p95_of_mean(WIDEST)

    @cached_property
    def _sigma(self) -> float:
        """Standard deviation of the logarithm: p95 / mean rises with it."""
        low, high = NARROWEST, WIDEST
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            low, high = (
                (middle, high) if _p95_of_mean(middle) < self.p95 / self.mean else (low, middle)
            )
        return low

    def at(self, share: float) -> float:
        """The length that `share` of the requests do not exceed."""
        sigma = self._sigma
        score, at_p95 = NORMAL.inv_cdf(share * _held(sigma)), _score_of_p95(sigma)
        return self.p95 * exp(sigma * (score - at_p95))


@dataclass(frozen=True)
class Quantiles:
    """Lengths between known quantiles: shares that rise from 0 to 1, and their tokens."""

    shares: Sequence[float]
    tokens: Sequence[float]

    def at(self, share: float) -> float:
        """The length that `share` of the requests do not exceed: straight between the nearest."""
        above = min(bisect_right(self.shares, share), len(self.shares) - 1)
        low, high = self.shares[above - 1], self.shares[above]
        part = (share - low) / (high - low)
        return self.tokens[above - 1] + part * (self.tokens[above] - self.tokens[above - 1])


def parse_tokens(option: str, text: str | float) -> int | Even | LogNormal:
    """Tokens as options state them: a mean, or how lengths are distributed.

    >>> parse_tokens("--input-tokens", "1024"), parse_tokens("--input-tokens", "512..4096")
    (1024, Even(low=512.0, high=4096.0))

    Raises:
        InputError: of another form, out of range, or a log-normal that there is not.
    """
    text = str(text).strip().removesuffix(".0")
    if re.fullmatch(r"[+-]?[0-9]{1,20}", text):
        return int(_in_range(option, int(text)))
    if found := re.fullmatch(r"([0-9]{1,20})\.\.([0-9]{1,20})", text):
        low, high = (_in_range(option, int(part)) for part in found.groups())
        if low > high:
            raise InputError(f"{option} {text}: the first must not be above the second")
        return Even(low, high)
    if found := re.fullmatch(r"mean=([0-9]{1,20}), ?p95=([0-9]{1,20})", text):
        mean, p95 = (_in_range(option, int(part)) for part in found.groups())
        if not LogNormal.spans(mean, p95):
            most = int(mean * _p95_of_mean(WIDEST))
            raise InputError(f"{option} {text}: give a p95 from {mean:g} to {most} for that mean")
        return LogNormal(mean, p95)
    raise InputError(f"{option} {shown(text)}: give tokens as {FORMS}")


def _in_range(option: str, tokens: int) -> float:
    if tokens <= 0:
        raise InputError(f"{option} {tokens}: must be greater than 0")
    if tokens > MOST_TOKENS:
        raise InputError(f"{option} {tokens}: must be less than or equal to {MOST_TOKENS}")
    return float(tokens)


def _limit(sigma: float) -> float:
    """Standard deviations above the median at which the longest lie."""
    return NORMAL.inv_cdf(0.95) + log(LONGEST_OF_P95) / sigma


def _held(sigma: float) -> float:
    """The share of an unlimited log-normal that lies below the limit."""
    return NORMAL.cdf(_limit(sigma))


def _score_of_p95(sigma: float) -> float:
    return NORMAL.inv_cdf(0.95 * _held(sigma))


def _p95_of_mean(sigma: float) -> float:
    """p95 / mean of a log-normal up to its limit: exp(s z - s^2 / 2) H / cdf(limit - s)."""
    below = NORMAL.cdf(_limit(sigma) - sigma)
    return exp(sigma * _score_of_p95(sigma) - sigma**2 / 2) * _held(sigma) / below
