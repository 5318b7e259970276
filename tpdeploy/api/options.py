"""The options that all functions take, turned into records with one clear line when they cannot."""

from pathlib import Path
from typing import Any, Literal, TypedDict, TypeVar, get_type_hints

from pydantic import TypeAdapter, ValidationError

from tpdeploy.api.daily import StatedDay, stated_day
from tpdeploy.api.lengths import Stated
from tpdeploy.api.naming import option_of
from tpdeploy.api.trace import OF_TRACE, as_recorded, check_planned, check_router, stated_trace
from tpdeploy.errors import InputError, plainly, shown
from tpdeploy.harness.traces.reading import BadLines
from tpdeploy.planner.request import Objective, Request, Router
from tpdeploy.planner.trace import Trace
from tpdeploy.planner.workload import Percentile, Target, Workload
from tpdeploy.profiles.models.shape import ModelShape
from tpdeploy.profiles.record import Record

# What a plan is made for when no load is stated.
DEFAULT_CONCURRENCY = 32
RecordT = TypeVar("RecordT", bound=Record)


class Common(TypedDict, total=False):
    """What may be stated of any plan; what is left out is chosen or assumed."""

    input_tokens: int | str
    """Mean prompt tokens of a request, `512..4096` or `mean=1200,p95=6000`. Default: 1,024."""
    output_tokens: int | str
    """Answer tokens of a request, in the same forms. Default: 256."""
    length_spread: float
    """Lengths lie within this share of the mean, to either side; 0: all are equal."""
    workload: str
    """A bundled workload in place of these, as `chat`."""
    lengths: str | Path
    """A CSV file or JSON Lines with the prompt and answer tokens of real requests."""
    trace: str | Path
    """Recorded requests with their arrivals, in place of lengths and of `rate`."""
    trace_speed: float
    """2: twice as fast as recorded."""
    trace_window: str
    """Part of the trace, from its first request on, as `10m..20m`."""
    trace_bad: BadLines
    """Bad lines of the trace: stop at the first (default), or skip and count them."""
    daily: str | Path
    """Requests/s by the hour, or a trace of a day: replicas and GPU-hours, within the targets."""
    headroom: float
    """With `daily`: replicas for so much more than comes. Default: 0.2."""
    start_up_s: float
    """With `daily`: seconds until a new replica answers. Default: 120."""
    router: Router
    """How the requests of the trace are shared out among replicas. Default: least-in-flight."""
    concurrency: int
    """Requests in flight. Default: 32."""
    rate: float
    """Requests/s, in place of `concurrency`."""
    ttft_ms: float
    """Target for time to first token, in ms."""
    tpot_ms: float
    """Target for time per output token, in ms."""
    percentile: Percentile
    """At which statistic the targets must hold. Default: p50."""
    prefix_cache_hit_rate: float
    """Share of prompt tokens that the prefix cache holds, 0 to 1."""
    pp: int
    """Only this many pipeline stages."""
    dp: int
    """Only this many data ranks of attention (mixture-of-experts models)."""
    ep: bool
    """Only with (or without) expert parallelism."""
    replicas: int
    """Only this many replicas."""
    quantization: str
    """fp8 (while loading), or the checkpoint's own."""
    kv_cache: Literal["auto", "fp8"]
    """Format of the KV cache."""
    max_model_len: int
    """Longest request, in tokens."""
    max_num_batched_tokens: int
    """Most tokens of one step."""
    max_num_seqs: int
    """Most requests of one step."""
    memory_fraction: float
    """Share of a device's memory that the engine takes, above 0 to 1."""
    enforce_eager: bool
    """Without CUDA graphs."""
    interconnect: str
    """pcie, nvlink, nvswitch, or the name of a fabric."""
    network: str
    """Name of the network between machines."""
    optimize: Objective
    """What to rank by. Default: throughput."""
    gpu_price: float
    """Dollars per GPU and hour."""


class Options(Common, total=False):
    """All that may be stated besides the model and the GPUs."""

    tp: int
    """Only this tensor-parallel width."""
    backend: str
    """Engine. Default: auto, the best of those that can run it."""


# Names of options that a record has under another.
OF_REQUEST = {
    **{"tp": "tensor", "pp": "pipeline", "dp": "data", "ep": "expert_parallel"},
    "gpu_price": "gpu_price_per_hour",
    **{
        name: name
        for name in (
            *("replicas", "quantization", "kv_cache", "max_model_len", "max_num_batched_tokens"),
            *("max_num_seqs", "memory_fraction", "enforce_eager", "interconnect", "network"),
            *("optimize", "router"),
        )
    },
}
OF_LOAD = {
    **{"concurrency": "concurrency", "rate": "rate", "prefix_cache_hit_rate": "prefix_hit_rate"},
}
# Read by a parser of their own, which takes any value.
PARSED = {"input_tokens", "output_tokens"}
LENGTHS = ("input_tokens", "output_tokens", "length_spread", "workload", "lengths")
# What a trace says itself.
TOLD_BY_TRACE = (*LENGTHS, "concurrency", "rate")


def stated(function: str, options: Common) -> Options:
    """The options that have a value; None is as if they were left out.

    Raises:
        TypeError: there is no such option, as Python says it of any function.
        InputError: a value is of another type than the option's.
    """
    kinds = get_type_hints(Options)
    for name in options:
        if name not in kinds:
            raise TypeError(f"{function}() got an unexpected keyword argument {name!r}")
    found = {name: value for name, value in options.items() if value is not None}
    for name, value in found.items():
        if name not in PARSED:
            check_type(name, value, kinds[name])
    return found  # type: ignore[return-value]


def check_type(name: str, value: object, kind: Any) -> None:
    """Check that `value` can be converted to `kind`.

    Raises:
        InputError: it cannot.
    """
    try:
        TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        problem = plainly(error.errors()[0]["msg"])
        raise InputError(f"{option_of(name)} {shown(value)}: {problem}") from error


def check_experts(model: ModelShape, data: int | None, *, asked: bool | None) -> None:
    """Check that the model has experts if their split is stated.

    Raises:
        InputError: it has none to be parallel, or for data ranks to share.
    """
    if model.experts is not None:
        return
    if asked:
        raise InputError(f"--ep: {model.id} has no experts; leave it out")
    if data and data > 1:
        raise InputError(f"--dp {data}: {model.id} has no experts to share; use --replicas")


def request_of(options: Options) -> Request:
    """What was asked besides the load and the engine."""
    return _record(Request, OF_REQUEST, options)


def trace_of(options: Options, model: ModelShape) -> Trace | None:
    """The trace that was stated, in requests that the model and a stated limit have room for.

    Raises:
        InputError: it cannot be read, or something else was stated that it tells already.
    """
    given = {name: options.get(name) for name in ("trace", "daily", *OF_TRACE, *TOLD_BY_TRACE)}
    stated = stated_trace(given, TOLD_BY_TRACE)
    found = stated.read(options.get("max_model_len", model.max_context)) if stated else None
    check_router(options.get("router"), found)
    return found


def day_of(options: Options, model: ModelShape) -> StatedDay | None:
    """The day that was stated, if one was.

    Raises:
        InputError: it cannot be read, or something else was stated that it tells already.
    """
    return stated_day(options, options.get("max_model_len", model.max_context))


def load_of(
    options: Options,
    model: ModelShape,
    trace: Trace | None = None,
    day: StatedDay | None = None,
) -> Workload:
    """The load, in requests that the model and a stated limit have room for."""
    if "rate" in options and "concurrency" in options:
        raise InputError("--concurrency and --rate: give one of them, not both")
    check_load_is_open(
        options.get("optimize"), options.get("concurrency"), options.get("rate"), trace
    )
    usual: dict[str, Any] = {} if "rate" in options else {"concurrency": DEFAULT_CONCURRENCY}
    usual = day.at_peak | day.lengths_fields if day else usual
    targets = {
        name: _target(ms, options.get("percentile", "p50"), f"{name}_ms")
        for name, ms in (("ttft", options.get("ttft_ms")), ("tpot", options.get("tpot_ms")))
        if ms is not None
    }
    stated: dict[str, Any] = {name: options[name] for name in LENGTHS if name in options}  # type: ignore[literal-required]
    lengths = Stated(**stated).fields(model)
    load = _record(Workload, OF_LOAD, options, **{**lengths, **usual, **targets})
    if trace:
        check_planned(trace, load.prefix_hit_rate)
        return as_recorded(load, trace)
    if "length_spread" in options and load.lengths is None:
        return load
    return load.within(options.get("max_model_len", model.max_context))


def check_load_is_open(optimize: object, *loads: object) -> None:
    """Check that no load is stated where the highest one is looked for.

    Raises:
        InputError: it was.
    """
    if optimize == "goodput" and any(load is not None for load in loads):
        raise InputError(
            "--optimize goodput: finds the highest rate within the targets; leave --concurrency, "
            "--rate and --trace out"
        )


def _target(ms: float, percentile: Percentile, name: str) -> Target:
    return _record(Target, {name: "ms", "percentile": "at"}, {name: ms, "percentile": percentile})


def _record(kind: type[RecordT], names: dict[str, str], options: Any, **others: Any) -> RecordT:
    given = {names[name]: value for name, value in options.items() if name in names}
    try:
        return kind.model_validate({**others, **given})
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0]) if first["loc"] else ""
        name = next((name for name, called in names.items() if called == field), field)
        problem = plainly(first["msg"])
        raise InputError(f"{option_of(name)} {shown(first['input'])}: {problem}") from error
