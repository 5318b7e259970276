"""From the options of `tpdeploy plan` to its request and its load."""

from collections.abc import Mapping
from typing import Any

from tpdeploy.api.daily import StatedDay, stated_day
from tpdeploy.api.lengths import Stated
from tpdeploy.api.options import LENGTHS, TOLD_BY_TRACE, check_experts, check_load_is_open
from tpdeploy.api.trace import as_recorded, check_planned, check_router, stated_trace
from tpdeploy.cli.options import common as options
from tpdeploy.planner.request import DEFAULT_ROUTER, Request
from tpdeploy.planner.trace import Trace
from tpdeploy.planner.workload import Workload
from tpdeploy.profiles.models.shape import ModelShape

# Options by the names of their parameters, as the parser has them.
Asked = Mapping[str, Any]

LOAD = (
    *("concurrency", "rate", "ttft", "tpot", "prefix_cache_hit_rate"),
    *("speculative_tokens", "acceptance_rate", "draft_cost"),
)
UNCHANGED = ("optimize", "kv_cache", "enforce_eager", "interconnect", "network")


def request_of(asked: Asked, stored: ModelShape) -> Request:
    """What was asked besides the model, the devices, the load and the engine."""

    def tokens(name: str) -> int | None:
        return options.tokens("--" + name.replace("_", "-"), asked[name])

    data = options.devices("--dp", asked["dp"])
    check_experts(stored, data, asked=asked["ep"])
    return Request(
        tensor=options.devices("--tp", asked["tp"]),
        pipeline=options.devices("--pp", asked["pp"]),
        data=data,
        expert_parallel=asked["ep"],
        replicas=options.devices("--replicas", asked["replicas"]),
        gpu_price_per_hour=options.price("--gpu-price", asked["gpu_price"]),
        dtype=options.dtype(asked["dtype"]),
        quantization=(asked["quantization"] or "").lower() or None,
        max_model_len=tokens("max_model_len"),
        max_num_batched_tokens=tokens("max_num_batched_tokens"),
        max_num_seqs=tokens("max_num_seqs"),
        memory_fraction=options.share("--memory-fraction", asked["memory_fraction"]),
        router=asked["router"] or DEFAULT_ROUTER,
        **{name: asked[name] for name in UNCHANGED},
    )


def trace_of(asked: Asked, model: ModelShape) -> Trace | None:
    """The trace that was asked for, in requests that the model and a stated limit have room for.

    Raises:
        InputError: it cannot be read, or something else was stated that it tells already.
    """
    stated = stated_trace(asked, (*TOLD_BY_TRACE, "pareto"))
    found = stated.read(asked["max_model_len"] or model.max_context) if stated else None
    check_router(asked["router"], found)
    return found


def day_of(asked: Asked, stored: ModelShape) -> StatedDay | None:
    """The day that was asked for, if one was.

    Raises:
        InputError: it cannot be read, or something else was stated that it tells already.
    """
    return stated_day(asked, asked["max_model_len"] or stored.max_context)


def load_of(
    asked: Asked, stored: ModelShape, trace: Trace | None = None, day: StatedDay | None = None
) -> Workload:
    """The load, in requests that the model and a stated limit have room for."""
    check_load_is_open(asked["optimize"], asked["concurrency"], asked["rate"], trace)
    if trace:
        others = {name: asked[name] for name in LOAD if name not in {"concurrency", "rate"}}
        planned = options.workload(
            longest=stored.max_context, lengths={}, concurrency=1, rate=None, **others
        )
        check_planned(trace, planned.prefix_hit_rate)
        return as_recorded(planned, trace)
    stated = Stated(**{name: asked[name] for name in LENGTHS})
    given = {name: asked[name] for name in LOAD}
    return options.workload(
        longest=asked["max_model_len"] or stored.max_context,
        lengths={**stated.fields(stored), **(day.lengths_fields if day else {})},
        spread_is_stated=asked["length_spread"] is not None,
        **(given | day.at_peak if day else given),
    )


def assumed(asked: Asked, load: Workload) -> str:
    """Which parts of `load` nobody stated, in words; nothing where all were."""
    words = {
        "input_tokens": f"{load.input_tokens:,} tokens in",
        "output_tokens": f"{load.output_tokens:,} out",
        "length_spread": f"lengths within {load.length_spread:.0%}",
    }
    if load.lengths:
        del words["length_spread"]
    if load.recording:
        return ""
    of_day = load.lengths and asked["daily"] and load.lengths.name == asked["daily"].name
    if asked["workload"] or asked["lengths"] or of_day:
        words = {}
    parts = [said for name, said in words.items() if asked[name] is None]
    if not any(
        (asked["concurrency"], asked["rate"], asked["optimize"] == "goodput", asked["daily"])
    ):
        parts.append(load.arriving)
    return f"Assumed: {', '.join(parts)}." if parts else ""
