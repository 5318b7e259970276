"""Turn command-line values into records, or refuse them in one clear line."""

import re
from collections.abc import Mapping
from typing import Any, TypeVar, get_args

from pydantic import ValidationError

from tpdeploy.api.naming import option_of
from tpdeploy.api.options import DEFAULT_CONCURRENCY
from tpdeploy.bounds import LEAST_PRICE, MOST_DEVICES, MOST_PRICE, MOST_TOKENS
from tpdeploy.errors import InputError, nearest, plainly, shown
from tpdeploy.planner.workload import (
    Percentile,
    Speculation,
    Target,
    Workload,
)
from tpdeploy.profiles.record import Dtype

NumberT = TypeVar("NumberT", int, float)

DTYPE_ALIASES = {"bfloat16": "bf16", "float16": "fp16", "half": "fp16", "float32": "fp32"}


def target(option: str, text: str | None) -> Target | None:
    """A target such as `500`, `500ms` or `500@p99` (ms; p50 unless named)."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(?:ms)?(?:@(\w+))?", text.strip())
    if match is None or float(match[1]) <= 0:
        raise InputError(f"{option} {shown(text)}: give milliseconds above 0, as 500 or 500@p99")
    statistic = match[2] or "p50"
    if statistic not in get_args(Percentile):
        raise InputError(f"{option} {shown(text)}: {nearest(statistic, get_args(Percentile))}")
    try:
        return Target.model_validate({"ms": float(match[1]), "at": statistic})
    except ValidationError as error:
        problem = plainly(error.errors()[0]["msg"])
        raise InputError(f"{option} {shown(text)}: {problem} ms") from error


def dtype(text: str | None) -> Dtype | None:
    """A dtype by its short or its long name; `auto` and nothing are None."""
    if text is None or text == "auto":
        return None
    name = DTYPE_ALIASES.get(text.lower(), text.lower())
    if name not in list(Dtype):
        raise InputError(f"--dtype {shown(text)}: {nearest(name, list(Dtype))}")
    return Dtype(name)


def workload(
    *,
    longest: int,
    lengths: Mapping[str, Any],
    spread_is_stated: bool = False,
    concurrency: int | None,
    rate: float | None,
    ttft: str | None,
    tpot: str | None,
    prefix_cache_hit_rate: float = 0.0,
    speculative_tokens: int | None = None,
    acceptance_rate: float | None = None,
    draft_cost: float | None = None,
) -> Workload:
    """The workload the options describe, in requests of at most `longest` tokens.

    Their `lengths` are fields of it. A spread becomes less for that, unless it was stated.
    """
    if concurrency is None and rate is None:
        concurrency = DEFAULT_CONCURRENCY
    if concurrency is not None and rate is not None:
        raise InputError("--concurrency and --rate: give one of them, not both")
    try:
        load = Workload(
            **lengths,
            concurrency=concurrency,
            rate=rate,
            ttft=target("--ttft", ttft),
            tpot=target("--tpot", tpot),
            prefix_hit_rate=prefix_cache_hit_rate,
            speculation=speculation(speculative_tokens, acceptance_rate, draft_cost),
        )
    except ValidationError as error:
        raise _refusal(error) from error
    return load if spread_is_stated and load.lengths is None else load.within(longest)


def under(
    planned: Workload,
    *,
    concurrency: int | None,
    rate: float | None,
    length_spread: float | None = None,
) -> Workload:
    """The requests of `planned` under another load, and of other lengths where they are stated."""
    spread = planned.length_spread if length_spread is None else length_spread
    if length_spread is not None and planned.lengths:
        raise InputError(
            f"--length-spread {length_spread:g}: the plan's requests have lengths of their own "
            f"({planned.lengths.name})"
        )
    try:
        load = {"concurrency": concurrency, "rate": rate, "length_spread": spread}
        return Workload.model_validate({**dict(planned), **load, "recording": None})
    except ValidationError as error:
        raise _refusal(error) from error


def speculation(
    drafted: int | None, acceptance: float | None, draft_cost: float | None
) -> Speculation | None:
    """Speculative decoding as the options describe it; None without `--speculative-tokens`."""
    if drafted is None:
        for option, value in (("--acceptance-rate", acceptance), ("--draft-cost", draft_cost)):
            if value is not None:
                raise InputError(
                    f"{option} {shown(value)}: has no effect without --speculative-tokens"
                )
        return None
    if acceptance is None:
        raise InputError(
            f"--speculative-tokens {shown(drafted)}: give --acceptance-rate too, the share of "
            "drafted tokens that the model accepts, as 0.7"
        )
    try:
        draft = Speculation(tokens=drafted, acceptance=acceptance)
        if draft_cost is None:
            return draft
        return Speculation(tokens=drafted, acceptance=acceptance, draft_cost=draft_cost)
    except ValidationError as error:
        raise _refusal(error) from error


def _refusal(error: ValidationError) -> InputError:
    """One line for the first value that a record refused, under its option's name."""
    first = error.errors()[0]
    name = str(first["loc"][0])
    option = option_of(name)
    message = plainly(first["msg"])
    if isinstance(first["input"], int | float) and first["input"] == 0 and "greater" in message:
        message = "must be greater than 0"
    return InputError(f"{option} {shown(first['input'])}: {message}")


def price(option: str, value: float | None) -> float | None:
    """Dollars per device and hour, if they are in the range of prices or not given."""
    return _within(option, value, LEAST_PRICE, MOST_PRICE)


def tokens(option: str, value: int | None) -> int | None:
    """A number of tokens from 1 up, or None."""
    return _within(option, value, 1, MOST_TOKENS)


def devices(option: str, value: int | None) -> int | None:
    """A number of devices or of parts with a device each from 1 up, or None."""
    return _within(option, value, 1, MOST_DEVICES)


def _within(option: str, value: NumberT | None, least: float, most: float) -> NumberT | None:
    if value is None or least <= value <= most:
        return value
    if value <= 0:
        raise InputError(f"{option} {shown(value)}: must be greater than 0")
    raise InputError(f"{option} {shown(value)}: must be from {least:g} to {most:,}")


def share(option: str, value: float | None) -> float | None:
    """`value` if it is above 0 and at most 1, or not given."""
    if value is not None and not 0 < value <= 1:
        raise InputError(f"{option} {value:g}: must be above 0 and at most 1, as 0.95")
    return value
