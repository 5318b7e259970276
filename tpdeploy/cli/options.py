"""Turning words of the command line into records, with one clear line when they cannot be."""

import re
from typing import get_args

from pydantic import ValidationError

from tpdeploy.errors import InputError, nearest
from tpdeploy.planner.workload import Percentile, Target, Workload
from tpdeploy.profiles.record import Dtype

# What a plan is made for when the user states no load.
DEFAULT_CONCURRENCY = 32

DTYPE_ALIASES = {"bfloat16": "bf16", "float16": "fp16", "half": "fp16", "float32": "fp32"}


def target(option: str, text: str | None) -> Target | None:
    """A target such as `500`, `500ms` or `500@p99` (ms; p50 unless named)."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(?:ms)?(?:@(\w+))?", text.strip())
    if match is None or float(match[1]) <= 0:
        raise InputError(f"{option} {text}: give milliseconds above 0, as 500 or 500@p99")
    statistic = match[2] or "p50"
    if statistic not in get_args(Percentile):
        raise InputError(
            f"{option} {text}: {statistic}: {nearest(statistic, get_args(Percentile))}"
        )
    return Target.model_validate({"ms": float(match[1]), "at": statistic})


def dtype(text: str | None) -> Dtype | None:
    """A dtype by its short or its long name; `auto` and nothing are None."""
    if text is None or text == "auto":
        return None
    name = DTYPE_ALIASES.get(text.lower(), text.lower())
    if name not in list(Dtype):
        raise InputError(f"--dtype {text}: {nearest(name, list(Dtype))}")
    return Dtype(name)


def workload(
    *,
    input_tokens: int,
    output_tokens: int,
    concurrency: int | None,
    rate: float | None,
    ttft: str | None,
    tpot: str | None,
) -> Workload:
    """The workload the options describe."""
    if concurrency is None and rate is None:
        concurrency = DEFAULT_CONCURRENCY
    if concurrency is not None and rate is not None:
        raise InputError("--concurrency and --rate: give one of them, not both")
    try:
        return Workload(
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            concurrency=concurrency,
            rate=rate,
            ttft=target("--ttft", ttft),
            tpot=target("--tpot", tpot),
        )
    except ValidationError as error:
        first = error.errors()[0]
        option = "--" + str(first["loc"][0]).replace("_", "-")
        message = first["msg"].removeprefix("Input should be ")
        raise InputError(f"{option} {first['input']}: must be {message}") from error


def positive(option: str, value: int | None) -> int | None:
    """`value` if it is above 0 or not given."""
    if value is not None and value <= 0:
        raise InputError(f"{option} {value}: must be greater than 0")
    return value
