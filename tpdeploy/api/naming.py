"""What a parameter is called: as an option of the command line, and in Python."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from tpdeploy.errors import InfeasibleError, InputError

# Parameters whose options have other names.
OPTIONS = {
    "prefix_hit_rate": "--prefix-cache-hit-rate",
    "tokens": "--speculative-tokens",
    "acceptance": "--acceptance-rate",
    "kv_cache": "--kv-cache-dtype",
    "ttft_ms": "--ttft",
    "tpot_ms": "--tpot",
    "gpu_price_per_hour": "--gpu-price",
    "start_up_s": "--start-up",
}
IN_PYTHON = {
    "--kv-cache-dtype": "kv_cache",
    "--ttft": "ttft_ms",
    "--tpot": "tpot_ms",
    "--start-up": "start_up_s",
    "--no-ep": "ep=False",
}
# Commands that a message names are left as they are typed.
OPTION = re.compile(r"tpdeploy [^;,)]*|--[a-z][a-z-]*")


def option_of(name: str) -> str:
    """The option of a parameter."""
    return OPTIONS.get(name, "--" + name.replace("_", "-"))


@contextmanager
def named_as_in_python() -> Iterator[None]:
    """Errors name options as the parameters that Python has for them.

    >>> with named_as_in_python():
    ...     raise InputError("--ttft 1: tpdeploy plan --ttft 9 works, or --no-ep")
    Traceback (most recent call last):
    tpdeploy.errors.InputError: ttft_ms 1: tpdeploy plan --ttft 9 works, or ep=False
    """
    try:
        yield
    except (InputError, InfeasibleError) as error:
        raise type(error)(OPTION.sub(_parameter, str(error))) from error.__cause__


def _parameter(option: re.Match[str]) -> str:
    name = option[0]
    if not name.startswith("--"):
        return name
    return IN_PYTHON.get(name, name.removeprefix("--").replace("-", "_"))
