"""Lengths: the requests of a workload one by one, as pairs of prompt and answer tokens.

The simulation and a measurement send the same pairs in the same order, and then again. The order is
one of chance, always the same: real requests come so, and long ones together make others wait.
"""

import random
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from math import sqrt
from statistics import fmean
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer

from tpdeploy.bounds import Tokens, Whole
from tpdeploy.errors import InputError
from tpdeploy.planner.margins import NORMAL, Margin, Quantiles
from tpdeploy.profiles.record import Record, Text
from tpdeploy.profiles.workloads import Side, WorkloadProfile, find_workload

# Fractional parts of their multiples are spread evenly: the plastic number's first two powers
# (Roberts 2018, the R2 sequence). Few drawn lengths then have the mean that many would have.
EVEN_PROMPTS, EVEN_ANSWERS = 0.7548776662466927, 0.5698402909980532
SEED = 20260101
# Ten of them are beyond the p99; each takes ten bytes of a plan file.
DRAWN = 1000
# More requests than this share that the model has no room for are another workload.
MOST_LEFT_OUT = 0.1

Pair = tuple[Tokens, Tokens]


def _read(pairs: Any) -> Any:
    """Pairs as files have them, `374+44 396+109`."""
    if not isinstance(pairs, str):
        return pairs
    return tuple(tuple(pair.split("+")) for pair in pairs.split())


def _written(pairs: tuple[Pair, ...]) -> str:
    return " ".join(f"{prompt}+{answer}" for prompt, answer in pairs)


class Lengths(Record):
    """Requests in the order in which they are sent, and then again."""

    name: Text = Field(description="what they are called in answers")
    source: Text = Field(description="where they come from")
    pairs: Annotated[
        tuple[Pair, ...],
        BeforeValidator(_read),
        PlainSerializer(_written, return_type=str, when_used="json"),
    ] = Field(min_length=1, max_length=DRAWN, description="prompt+answer tokens of each")
    left_out: Whole = Field(default=0, description="that were too long for the model or a limit")

    @property
    def means(self) -> tuple[int, int]:
        """Mean tokens of the prompts and of the answers."""
        prompts, answers = zip(*self.pairs, strict=True)
        return max(1, round(fmean(prompts))), max(1, round(fmean(answers)))

    @property
    def longest(self) -> int:
        """Tokens that the longest request holds at its end."""
        return max(map(sum, self.pairs))

    @property
    def words(self) -> str:
        """How long they are and where they come from, in two sentences."""
        (half_in, half_out), (most_in, most_out) = self.percentiles(0.5), self.percentiles(0.95)
        prompt, answer = self.means
        out = f" Left out: {self.left_out / (len(self.pairs) + self.left_out):.1%}, too long."
        return (
            f"Lengths: {self.name}, prompts of {prompt:,} tokens (p50 {half_in:,}, p95 "
            f"{most_in:,}), answers of {answer:,} (p50 {half_out:,}, p95 {most_out:,}). "
            f"{self.source}.{out if self.left_out else ''}"
        )

    def percentiles(self, share: float) -> tuple[int, int]:
        """Tokens of prompt and answer that `share` of the requests do not exceed."""
        at = round(share * (len(self.pairs) - 1))
        prompts, answers = zip(*self.pairs, strict=True)
        return sorted(prompts)[at], sorted(answers)[at]

    def within(self, tokens: int) -> "Lengths":
        """Those of at most `tokens` at their end.

        Raises:
            InputError: more than one in ten are longer.
        """
        kept = tuple(pair for pair in self.pairs if sum(pair) <= tokens)
        out = len(self.pairs) - len(kept)
        check_left_out(self.name, out / len(self.pairs), tokens)
        return self.changed(pairs=kept, left_out=self.left_out + out) if out else self

    def of_means(self, prompt: float, answer: float) -> "Lengths":
        """The same requests, each longer or shorter in proportion, so that they have these means.

        None is shorter than a token.
        """
        prompts, answers = zip(*self.pairs, strict=True)
        pairs = zip(_scaled(prompts, prompt), _scaled(answers, answer), strict=True)
        return self.changed(pairs=tuple(pairs))


def check_left_out(name: str, share: float, tokens: int) -> None:
    """Check that not too many of the requests of `name` are longer than `tokens`.

    Raises:
        InputError: more than one in ten are.
    """
    if share > MOST_LEFT_OUT:
        raise InputError(
            f"{name}: {share:.0%} of the requests are longer than the {tokens:,} tokens there is "
            "room for; give shorter ones, or a model or --max-model-len that has room for them"
        )


def drawn(
    prompts: Margin, answers: Margin, correlation: float = 0.0, *, name: str, source: str
) -> Lengths:
    """DRAWN requests whose lengths have these margins exactly, and whose normal scores correlate.

    A normal copula: the answer's score is r x the prompt's + sqrt(1 - r^2) x one of its own.
    """
    own = _evenly([number * EVEN_ANSWERS % 1 for number in range(1, DRAWN + 1)])
    first = _evenly([number * EVEN_PROMPTS % 1 for number in range(1, DRAWN + 1)])
    second = own
    if correlation:
        rest = sqrt(1 - correlation**2)
        scores = [(NORMAL.inv_cdf(u), NORMAL.inv_cdf(v)) for u, v in zip(first, own, strict=True)]
        second = _evenly([correlation * x + rest * y for x, y in scores])
    pairs = [
        (max(1, round(prompts.at(u))), max(1, round(answers.at(v))))
        for u, v in zip(first, second, strict=True)
    ]
    return Lengths(name=name, source=source, pairs=_by_chance(pairs))


@cache
def named(name: str) -> Lengths:
    """The bundled workload called `name`.

    Raises:
        InputError: there is none.
    """
    profile = find_workload(name)
    return drawn(
        _quantiles(profile.input),
        _quantiles(profile.output),
        profile.correlation,
        name=profile.name,
        source=_source(profile),
    )


def representative(rows: Sequence[Pair], *, name: str, source: str) -> Lengths:
    """All of `rows`, or DRAWN of them that are like all, the longest included.

    Pairs stay what they are. In a line through all rows, in which neighbours have like prompts and
    like answers, one is taken of each of DRAWN equal stretches.
    """
    line, count = _line(rows), min(len(rows), DRAWN)
    bounds = [place * len(line) // count for place in range(count + 1)]
    longest = max(range(len(line)), key=lambda place: sum(line[place]))
    picked = [
        line[longest if first <= longest < end else (first + end) // 2]
        for first, end in pairwise(bounds)
    ]
    return Lengths(name=name, source=source, pairs=_by_chance(picked))


def _quantiles(side: Side) -> Quantiles:
    shares = [percent / 100 for percent in side.quantiles]
    return Quantiles(shares, list(side.quantiles.values()))


def _source(profile: WorkloadProfile) -> str:
    low = " (low confidence)" if profile.confidence == "low" else ""
    return f"{profile.source}, {profile.date}{low}"


def _scaled(tokens: Sequence[int], mean: float) -> list[int]:
    by = mean / fmean(tokens)
    return [max(1, round(each * by)) for each in tokens]


def _evenly(values: Sequence[float]) -> list[float]:
    """The middle of the part of 0 to 1 that each value has by its rank."""
    shares = [0.0] * len(values)
    for rank, place in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        shares[place] = (rank + 0.5) / len(values)
    return shares


def _line(rows: Sequence[Pair]) -> list[Pair]:
    """Strips of like answers, each run through by prompt, back and forth."""
    strips = max(1, round(sqrt(min(len(rows), DRAWN))))
    by_answer = sorted(rows, key=lambda pair: (pair[1], pair[0]))
    bounds = [number * len(rows) // strips for number in range(strips + 1)]
    line: list[Pair] = []
    for number, (first, end) in enumerate(pairwise(bounds)):
        line += sorted(by_answer[first:end], reverse=bool(number % 2))
    return line


def _by_chance(pairs: Sequence[Pair]) -> tuple[Pair, ...]:
    order = list(pairs)
    random.Random(SEED).shuffle(order)  # noqa: S311 - reproducible load, not cryptography
    return tuple(order)
