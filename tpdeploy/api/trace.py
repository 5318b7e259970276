"""A trace as it was stated: read, and turned into the fields of a workload."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tpdeploy.api.naming import option_of
from tpdeploy.errors import InputError
from tpdeploy.harness.traces.reading import BadLines, Part, part_of, read_trace, without_longer
from tpdeploy.planner.lengths import representative
from tpdeploy.planner.request import Router
from tpdeploy.planner.trace import Recording, Trace
from tpdeploy.planner.workload import Workload, fields_of

# A split takes about ten seconds for them.
MOST_PLANNED = 100_000
# How it is read; of no effect without a file.
OF_TRACE = ("trace_speed", "trace_window", "trace_bad")


@dataclass(frozen=True)
class StatedTrace:
    """Which file, which part of it, how fast, and what becomes of bad lines."""

    path: Path
    speed: float | None = None
    window: str | None = None
    bad: BadLines = "stop"

    def read(self, longest: int, planned: Recording | None = None) -> Trace:
        """Its requests of at most `longest` tokens.

        Where neither a part nor a speed is stated they are those of the recording that was
        `planned`, and what was skipped then is skipped again.

        Raises:
            InputError: it cannot be read, or more than one in ten are longer.
        """
        part, bad = part_of(self.window, self.speed), self.bad
        if planned and self.window is None and self.speed is None:
            part = Part(planned.from_s, planned.to_s, planned.speed)
        if planned and planned.bad_lines:
            bad = "skip"
        return without_longer(read_trace(self.path, part, bad), longest)


def stated_trace(asked: Mapping[str, Any], told: Sequence[str]) -> StatedTrace | None:
    """The trace in what was asked, beside which nothing in `told` may be stated.

    Raises:
        InputError: something is, or how to read a trace is said and no trace.
    """
    path = asked["trace"]
    if path is None:
        alone = next((name for name in OF_TRACE if asked[name] is not None), None)
        if alone and asked.get("daily") is None:
            raise InputError(f"{option_of(alone)} {asked[alone]}: give --trace too, a file")
        return None
    for name in told:
        if asked[name] not in {None, False}:
            raise InputError(
                f"--trace and {option_of(name)}: the trace says which requests come and when; "
                f"leave {option_of(name)} out"
            )
    speed, window, bad = (asked[name] for name in OF_TRACE)
    return StatedTrace(Path(path), speed, window, bad or "stop")


def load_fields(trace: Trace) -> dict[str, Any]:
    """The fields of a workload whose requests come as `trace` has them.

    Lengths and rate are its means: by them splits are chosen that are worth simulating. Prompts
    count as cached as far as they came before; what a cache of some size holds is simulated.
    """
    recording = trace.recording
    lengths = representative(trace.pairs, name=recording.name, source=recording.form)
    found = {**fields_of(lengths), "recording": recording, "rate": recording.rate}
    return {**found, "prefix_hit_rate": recording.shared} if recording.block_tokens else found


def check_planned(trace: Trace, hit_rate: float) -> None:
    """Check that `trace` can be planned for.

    Raises:
        InputError: it would take minutes, or a `hit_rate` is stated that its hashes tell.
    """
    requests = trace.recording.requests
    if requests > MOST_PLANNED:
        raise InputError(
            f"--trace: {requests:,} requests take minutes to simulate; give a part of at most "
            f"{MOST_PLANNED:,}, as --trace-window ..1h"
        )
    if hit_rate and trace.recording.block_tokens:
        raise InputError(
            f"--prefix-cache-hit-rate {hit_rate:g}: the trace has the hashes of its prompts, which "
            "tell the hits; leave it out"
        )


def check_router(router: Router | None, trace: Trace | None) -> None:
    """Nothing, if the requests of `trace` can be shared out so, or no `router` is named.

    Raises:
        InputError: there is no trace, or it has no hashes to tell what a cache holds.
    """
    if router and trace is None:
        raise InputError(f"--router {router}: give --trace too, a file")
    if router == "cache-aware" and trace and not trace.recording.block_tokens:
        raise InputError(
            f"--router {router}: {trace.recording.name} does not say which prompts begin alike; "
            "give a trace with hash_ids"
        )


def as_recorded(planned: Workload, trace: Trace) -> Workload:
    """The targets of `planned` for the requests of `trace`."""
    fields = {**dict(planned), "concurrency": None, **load_fields(trace)}
    return Workload.model_validate(fields)
