"""Each measured run of a table as a request to the planner."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from math import ceil, isqrt

from tpdeploy.backends.base import Release
from tpdeploy.backends.overheads import MEASURED_ON_VLLM
from tpdeploy.backends.registry import load_backend
from tpdeploy.backends.rules import rules_on
from tpdeploy.bounds import MOST_CLIENTS, MOST_DEVICES, MOST_REQUESTS, MOST_TOKENS
from tpdeploy.errors import InputError, nearest, shown
from tpdeploy.harness.backtest.gpu_names import find_gpu
from tpdeploy.harness.backtest.table import Row, measured, number, stated, whole
from tpdeploy.planner.engine_rules import EngineRules
from tpdeploy.planner.inputs import PlanInputs
from tpdeploy.planner.lengths import named
from tpdeploy.planner.model.precision import stored_shape
from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.protocol import Protocol
from tpdeploy.planner.workload import Workload, fields_of
from tpdeploy.profiles.devices.accelerator import Accelerator
from tpdeploy.profiles.devices.catalog import (
    assemble,
    choose_fabric,
    find_accelerator,
    find_fabric,
    with_engine,
)
from tpdeploy.profiles.devices.cluster import Cluster
from tpdeploy.profiles.devices.releases import earlier_releases
from tpdeploy.profiles.models.library import load_model
from tpdeploy.profiles.models.shape import ModelShape
from tpdeploy.profiles.record import Dtype

# Engines as tables write them, in letters alone, and the names of their adapters.
ENGINES = {
    "vllm": "vllm",
    "sglang": "sglang",
    "trtllm": "tensorrt-llm",
    "deepspeedmii": "deepspeed-mii",
}
# The rules of engines that have published runs and no adapter among the built-in ones: those of
# the example adapter. Runs do not state their share of the memory: it is the engine's default.
WITHOUT_ADAPTER = {
    "sglang": EngineRules(
        "sglang", 0.88, prefill_priority=True, async_scheduling=True, overheads=MEASURED_ON_VLLM
    ),
}
# The lengths of the largest public benchmark, InferenceMAX, which draws them evenly from 80 % to
# 100 % of these: a tenth of them, a ninth of their mean, to either side of 90 %. It starts all
# clients at once and counts all of ten requests a client.
GRID = {(1024, 1024), (1024, 8192), (8192, 1024)}
GRID_MEAN, GRID_SPREAD = 0.9, 0.1 / 0.9
COUNTED = Protocol(requests_per_client=10, warm_up=0, together=True)
# Means of the requests that vLLM's and SGLang's benchmarks draw from ShareGPT, by tokenizer.
SHAREGPT_INPUTS, SHAREGPT_OUTPUTS = range(205, 241), range(170, 221)
# Other lengths drawn from real conversations, or evenly from 1 up, spread at least so far.
# A judgement.
DRAWN_SPREAD = 0.5
# A text made for a length has up to so much fewer tokens.
CUT = 0.007
# What aiconfigurator gives vLLM and TensorRT-LLM, whose own runs have other lengths: a step holds
# the input, the requests in flight and this many tokens (its generator/rule_plugin/benchmark).
SPARE_TOKENS = 1500
# It tells TensorRT-LLM's data ranks to hold prompts back until all have one, for so many steps
# (attention_dp_config with enable_balance and timeout_iters in its benchmarks/dsr1_*_b200_trt*.sh).
PROMPT_WAIT_STEPS = 60
# What vLLM puts into a step by default: so many sequences, and up to 1,024 on GPUs of 70 GiB or
# more other than A100, since 0.8 (its engine/arg_utils.py).
VLLM_SEQUENCES, LARGE_BYTES, VLLM_LARGE_SINCE = 256, 70 << 30, (0, 8, "2025-03-18")
GPUS_A_MACHINE = 8
# A run that did not fit into its engine's default share of the memory was given more.
MOST_MEMORY = 0.97


@dataclass(frozen=True)
class Reading:
    """One possible reading of a run: a row does not state everything."""

    inputs: PlanInputs
    parallelism: Parallelism
    assumed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Case:
    """One run: what was served and how, and what was measured (None: not stated)."""

    readings: tuple[Reading, ...]  # the likeliest first
    ttft_ms: float | None
    tpot_ms: float | None
    output_tokens_per_s: float | None = None
    served: bool = True  # False: the engine alone was measured, without a server


def case_of(row: Row) -> Case:
    """The question that a run answers.

    Raises:
        InputError: an unknown model, GPU, precision or engine, or an impossible number.
    """
    tensor, pipeline = whole(row, "tp", 1), whole(row, "pp", 1, default=1)
    replicas = whole(row, "dp", 0, default=1)
    gpus = whole(row, "gpu_count", 0, default=tensor * pipeline * replicas)
    if replicas == 0 or gpus == 0:
        raise InputError(
            f"dp {replicas} and gpu_count {gpus}: 0 stands for disaggregated serving, whose "
            "GPUs the row does not state; give the GPUs of one engine that prefills and decodes"
        )
    split = Parallelism(tensor=tensor, pipeline=pipeline, replicas=replicas)
    workload = _workload(row)
    cluster = cluster_of(row["gpu"], split.devices, adapter_of(row["engine"]))
    engine = _rules(row, cluster.accelerator.name)
    served = _served(row)
    if not served:
        alone = cluster.efficiency.without_server()
        cluster = cluster.changed(efficiency=alone)
    cluster = _as_of(row, cluster)
    shape = shape_of(row["model"], cluster.accelerator, row["precision"])
    inputs = PlanInputs(
        shape=shape,
        cluster=cluster,
        workload=workload,
        engine=engine,
        kv_cache_dtype=_kv_cache_dtype(row, shape),
        protocol=_protocol(row, workload),
        max_num_batched_tokens=_batched_tokens(row, engine, workload, replicas),
        max_num_seqs=_sequences(row, cluster.accelerator),
    )
    return Case(
        tuple(_readings(inputs, split, gpus)),
        measured(row, "ttft_ms"),
        measured(row, "tpot_ms"),
        measured(row, "output_tokens_per_s"),
        served,
    )


def _as_of(row: Row, cluster: Cluster) -> Cluster:
    """The cluster under the release of the engine that ran; under today's if none is stated."""
    device, version, date = cluster.accelerator, row.get("engine_version", ""), row.get("date", "")
    for known in earlier_releases(adapter_of(row["engine"]), device.platform):
        ended = Release(known.major, known.minor, known.released.isoformat())
        if ended.is_after(version, date) and not Release(*known.since).is_after(version):
            return cluster.changed(efficiency=known.of(cluster.efficiency))
    return cluster


def lengths_of(row: Row) -> tuple[int, int, float]:
    """Mean input and output tokens of a run, and how far they spread to either side.

    Without `length_spread` requests are equal, but for those of the largest public benchmark, and
    where a length is no number that a person sets: 247 in and 352 out are means of drawn lengths.
    """
    inputs = whole(row, "input_tokens", 1, MOST_TOKENS)
    outputs = whole(row, "output_tokens", 1, MOST_TOKENS)
    text = stated(row, "length_spread")
    own = text or stated(row, "requests") or stated(row, "workload")
    if not own and (inputs, outputs) in GRID:
        return round(GRID_MEAN * inputs), round(GRID_MEAN * outputs), GRID_SPREAD
    spread = number(text) if text else _spread_of(inputs, outputs)
    if spread is None or not 0 <= spread < 1:
        raise InputError(f"length_spread {text!r}: need a share from 0 up to, not including, 1")
    return inputs, outputs, spread


def _spread_of(*lengths: int) -> float:
    """How far lengths spread that are only known by their means."""
    return 0.0 if all(map(is_set, lengths)) else DRAWN_SPREAD


def is_set(tokens: int) -> bool:
    """Whether `tokens` is a length that is set: two digits and zeros, or 1, 3 or 5 times 2^n.

    Of hundreds, those and fifties. Or a few tokens less than one, which is what is counted of a
    text made for that length.

    >>> [is_set(n) for n in (128, 250, 1000, 1536, 1021, 352, 421, 530)]
    [True, True, True, True, True, False, False, False]
    """
    return any(_is_round(n) for n in range(tokens, tokens + max(1, int(tokens * CUT)) + 1))


def _is_round(tokens: int) -> bool:
    odd = tokens // (tokens & -tokens)
    few = tokens % 50 == 0 if 100 <= tokens < 1000 else len(str(tokens).rstrip("0")) <= 2
    return odd <= 5 or few


def _protocol(row: Row, workload: Workload) -> Protocol:
    """How a closed loop was measured: `requests` in all, else as benchmarks do it."""
    if not stated(row, "requests"):
        return COUNTED
    each = whole(row, "requests", 1, MOST_REQUESTS) / (workload.concurrency or 1)
    return Protocol(requests_per_client=each, fewest_requests=1, warm_up=0, together=True)


def _rules(row: Row, gpu: str) -> EngineRules:
    version, date = row.get("engine_version", ""), row.get("date", "")
    rules = rules_of(adapter_of(row["engine"]), gpu, version, date)
    if rules.data_or_tensor and _of_grid(row):
        rules = replace(rules, prompt_wait_steps=PROMPT_WAIT_STEPS)
    text = stated(row, "memory_fraction")
    if not text:
        return rules
    share = number(text)
    if share is None or not 0 < share <= 1:
        raise InputError(f"memory_fraction {shown(text)!r}: need a share above 0 and up to 1")
    return replace(rules, memory_fraction=share)


def _served(row: Row) -> bool:
    text = stated(row, "server").lower()
    if text not in {"", "yes", "no"}:
        raise InputError(f"server {shown(text)!r}: need yes, no (the engine alone) or nothing")
    return text != "no"


def _batched_tokens(row: Row, engine: EngineRules, workload: Workload, replicas: int) -> int | None:
    """Tokens of the engine's largest step; None: its default."""
    if stated(row, "max_num_batched_tokens"):
        return whole(row, "max_num_batched_tokens", 1, MOST_TOKENS)
    if _of_grid(row) or engine.name == "sglang" or workload.rate:
        return None
    return workload.input_tokens + ceil((workload.concurrency or 1) / replicas) + SPARE_TOKENS


def _sequences(row: Row, device: Accelerator) -> int | None:
    """Sequences of the engine's largest step; None: as many as are in flight, 256 or more.

    Whoever states `requests` started vLLM by hand, with its default where the row says no other.
    """
    if stated(row, "max_num_seqs"):
        return whole(row, "max_num_seqs", 1, MOST_CLIENTS)
    if adapter_of(row["engine"]) != "vllm" or not stated(row, "requests"):
        return None
    large = device.peaks.memory_bytes >= LARGE_BYTES and not device.name.lower().startswith("a100")
    since = Release(*VLLM_LARGE_SINCE)
    earlier = since.is_after(row.get("engine_version", ""), row.get("date", ""))
    return None if large and not earlier else VLLM_SEQUENCES


def _of_grid(row: Row) -> bool:
    """Whether a run has the lengths of the largest public benchmark."""
    inputs = whole(row, "input_tokens", 1, MOST_TOKENS)
    return (inputs, whole(row, "output_tokens", 1, MOST_TOKENS)) in GRID


def ranks_of_group(tensor: int, copies: int) -> int:
    """GPUs of one group whose attention is data-parallel, from a row's tp and dp.

    Tables count them in several ways. dp equal to tp names the same GPUs twice: of Kimi-K2.5 and
    MiniMax-M2.5 such runs are as fast as those of dp 1 on tp GPUs. A tp of 1 with a dp beyond one
    machine is the product of the experts' two splits, n x n on n GPUs: of DeepSeek-R1 the runs of
    dp 64 and dp 8 are the same, as are those of dp 16 and dp 4.
    """
    if tensor == copies:
        return tensor
    if tensor == 1 and copies > GPUS_A_MACHINE and isqrt(copies) ** 2 == copies:
        return isqrt(copies)
    return tensor * copies


def adapter_of(engine: str) -> str:
    """The name under which an engine of a table is known here.

    >>> adapter_of("TensorRT-LLM")
    'tensorrt-llm'

    Raises:
        InputError: an engine that is not known here.
    """
    name = re.sub(r"[^a-z]", "", engine.lower()).replace("tensorrt", "trt")
    if name not in ENGINES:
        raise InputError(f"unknown engine {shown(engine)!r}; {nearest(engine, ENGINES)}")
    return ENGINES[name]


@cache
def rules_of(adapter: str, gpu: str, version: str = "", date: str = "") -> EngineRules:
    """What the planner needs to know about an engine on `gpu`, from its adapter.

    An engine whose version is not known is that of the run's `date` (YYYY-MM-DD), else today's.
    """
    if adapter in WITHOUT_ADAPTER:
        return WITHOUT_ADAPTER[adapter]
    engine, device = load_backend(adapter), find_accelerator(gpu)
    if engine.capability(device.platform) is None:  # it did run there
        device = device.changed(platform="cuda")
    return rules_on(engine, device, version, date)


@cache
def cluster_of(gpu: str, count: int, engine: str) -> Cluster:
    """`count` GPUs as they are sold, under `engine`: on trays, machines of a domain, or of 8.

    Raises:
        InputError: an unknown GPU.
    """
    device = find_gpu(gpu)
    fabric = choose_fabric(device, None)
    joined = find_fabric(fabric)
    most = joined.per_machine or max(GPUS_A_MACHINE, joined.domain)
    if count > MOST_DEVICES:
        raise InputError(f"{count:,} GPUs are more than {MOST_DEVICES:,}")
    nodes = min(n for n in divisors(count) if count // n <= most)
    return with_engine(assemble(device, fabric, nodes, count // nodes), engine)


def divisors(count: int) -> set[int]:
    """The numbers that divide `count`.

    >>> sorted(divisors(12))
    [1, 2, 3, 4, 6, 12]
    """
    small = [n for n in range(1, isqrt(count) + 1) if count % n == 0]
    return {*small, *(count // n for n in small)}


def shape_of(model: str, device: Accelerator, precision: str) -> ModelShape:
    """The model as it was served on `device` in `precision`; blank: as the checkpoint is.

    Raises:
        InputError: an unknown model, or a precision that is not known here.
    """
    found = _shape(model, device.name, precision)
    if isinstance(found, str):
        raise InputError(found)
    return found


@cache
def _shape(model: str, gpu: str, precision: str) -> ModelShape | str:
    """The shape, or why there is none: looking for an unknown model takes seconds."""
    try:
        return stored_shape(load_model(model), find_accelerator(gpu), precision)
    except InputError as error:
        return str(error)


def _workload(row: Row) -> Workload:
    """The load of a run; with `workload` the lengths of a bundled one, in proportion."""
    inputs, outputs, spread = lengths_of(row)
    rate = measured(row, "request_rate")
    fields = {"input_tokens": inputs, "output_tokens": outputs, "length_spread": spread}
    if name := _shape_of(row, inputs, outputs):
        fields = fields_of(named(name).of_means(inputs, outputs))
    return Workload(
        **fields,
        rate=rate,
        concurrency=None if rate else whole(row, "concurrency", 1, MOST_CLIENTS),
    )


def _shape_of(row: Row, inputs: int, outputs: int) -> str:
    """The bundled workload that the lengths of a run are like; empty if none is."""
    name, spread = stated(row, "workload"), stated(row, "length_spread")
    if name and spread:
        raise InputError("length_spread and workload: both say how lengths differ; give one")
    sample = inputs in SHAREGPT_INPUTS and outputs in SHAREGPT_OUTPUTS
    if name or spread or not sample or _spread_of(inputs, outputs) == 0:
        return name
    return "sharegpt"


def _kv_cache_dtype(row: Row, shape: ModelShape) -> Dtype:
    """The KV cache of a run, which no column states: FP8 beside FP8 and NVFP4 weights.

    ModelOpt's checkpoints ask for that. With a KV cache of 16 bits the error of the predicted TPOT
    would grow with the KV read, in runs of Llama 3.1 70B, Qwen3-32B and MiniMax-M2.5 alike; with
    FP8 it does not. MXFP4 checkpoints (gpt-oss) ask for nothing.
    """
    stored = shape.quantization
    narrow = row["precision"].strip() and stored and stored.weights in {Dtype.FP8, Dtype.FP4}
    return Dtype.FP8 if narrow and stored and stored.method != "mxfp4" else shape.dtype


def _readings(inputs: PlanInputs, split: Parallelism, gpus: int) -> Iterator[Reading]:
    """The row as it stands, then with more memory for the engine: the run did fit."""
    assumed = []
    if inputs.kv_cache_dtype is not inputs.shape.dtype:
        assumed.append(f"{inputs.kv_cache_dtype} KV cache assumed")
    if gpus != split.devices:
        assumed.append(f"tp x pp x dp uses {split.devices} of the {gpus} GPUs")
    if inputs.max_num_batched_tokens:
        assumed.append(f"steps of at most {inputs.max_num_batched_tokens:,} tokens")
    generous = replace(inputs.engine, memory_fraction=MOST_MEMORY)
    roomy = replace(inputs, engine=generous)
    for used, more in (
        (inputs, ()),
        (roomy, (f"{MOST_MEMORY:.0%} of the memory assumed for {generous.name}",)),
    ):
        for parallelism, how in _splits(inputs, split):
            yield Reading(used, parallelism, (*assumed, *more, *how))


def _splits(
    inputs: PlanInputs, split: Parallelism
) -> Iterator[tuple[Parallelism, tuple[str, ...]]]:
    """Data parallelism of a model with experts: attention alone is replicated, experts are not.

    As replicas where that cannot be split so.
    """
    copies = split.replicas
    if copies > 1 and inputs.shape.experts:
        wide = _sharing_experts(inputs.engine, split)
        yield wide, (f"dp {copies} with experts taken as {wide.words}",)
        yield split, (f"dp {copies} with experts taken as {copies} replicas",)
    else:
        yield split, ()


def _sharing_experts(engine: EngineRules, split: Parallelism) -> Parallelism:
    """Data ranks with whole experts; one group where tp and dp name the same GPUs.

    One group, too, for an engine that is not known to have data-parallel attention.
    """
    width = ranks_of_group(split.tensor, split.replicas)
    tensor = split.tensor if engine.data_parallel else width
    return Parallelism.of(
        tensor, data=width // tensor, pipeline=split.pipeline, expert_parallel=True
    )
