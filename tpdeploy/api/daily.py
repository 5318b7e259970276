"""A day as it was stated: read, and the load at its peak."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tpdeploy.api.naming import option_of
from tpdeploy.api.trace import OF_TRACE, StatedTrace
from tpdeploy.errors import InputError, plainly, shown
from tpdeploy.harness.traces.day import day_of, is_trace, read_day
from tpdeploy.planner.daily import DAY_S, DailyLoad
from tpdeploy.planner.lengths import Lengths, representative
from tpdeploy.planner.trace import Trace
from tpdeploy.planner.workload import fields_of

OF_DAY = ("headroom", "start_up_s")
# What a day says itself, or what follows from it.
TOLD_BY_DAY = ("concurrency", "rate", "trace", "replicas", "pareto")
LENGTHS = ("input_tokens", "output_tokens", "length_spread", "workload", "lengths")


@dataclass(frozen=True)
class StatedDay:
    """The load of a day, and the lengths of its requests if it is a trace."""

    load: DailyLoad
    lengths: Lengths | None = None

    @property
    def lengths_fields(self) -> dict[str, Any]:
        """The fields of a workload with its lengths, if it tells them."""
        return fields_of(self.lengths) if self.lengths else {}

    @property
    def at_peak(self) -> dict[str, Any]:
        """The fields of a workload at its peak."""
        return {"concurrency": None, "rate": self.load.peak.requests_per_s}


def stated_day(asked: Mapping[str, Any], longest: int) -> StatedDay | None:
    """The day in what was asked, in requests of at most `longest` tokens if it is a trace.

    Raises:
        InputError: it cannot be read, or something else was stated that it tells already.
    """
    path = asked.get("daily")
    if path is None:
        alone = next((name for name in OF_DAY if asked.get(name) is not None), None)
        if alone:
            raise InputError(f"{option_of(alone)} {asked[alone]:g}: give --daily too, a file")
        return None
    _check_alone(asked, TOLD_BY_DAY, "the day says how many requests come")
    if asked.get("optimize", "throughput") != "throughput":
        raise InputError(
            f"--daily and --optimize {asked['optimize']}: a day is planned for the fewest "
            "GPU-hours; leave --optimize out"
        )
    path = Path(path)
    if not is_trace(path):
        _check_alone(asked, OF_TRACE, "the file is no trace")
        return StatedDay(_load(asked, path, float(DAY_S), read_day(path)))
    _check_alone(asked, LENGTHS, "the trace says how long requests are")
    trace = _trace(asked, path, longest)
    lengths = representative(trace.pairs, name=path.name, source=trace.recording.form)
    return StatedDay(_load(asked, path, *day_of(path, trace)), lengths)


def _trace(asked: Mapping[str, Any], path: Path, longest: int) -> Trace:
    speed, window, bad = (asked.get(name) for name in OF_TRACE)
    try:
        return StatedTrace(path, speed, window, bad or "stop").read(longest)
    except InputError as error:
        raise InputError(str(error).replace(f"--trace {path}", f"--daily {path}", 1)) from None


def _check_alone(asked: Mapping[str, Any], names: tuple[str, ...], why: str) -> None:
    for name in names:
        if asked.get(name) not in {None, False}:
            option = option_of(name)
            raise InputError(f"--daily and {option}: {why}; leave {option} out")


def _load(asked: Mapping[str, Any], path: Path, span_s: float, stretches: Any) -> DailyLoad:
    given = {name: asked[name] for name in OF_DAY if asked.get(name) is not None}
    try:
        return DailyLoad(name=path.name, span_s=span_s, stretches=stretches, **given)
    except ValidationError as error:
        first = error.errors()[0]
        option = option_of(str(first["loc"][0]) if first["loc"] else "daily")
        raise InputError(f"{option} {shown(first['input'])}: {plainly(first['msg'])}") from error
