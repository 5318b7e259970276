"""The planner against what was measured on one H200 with vLLM 0.26.0 (profiles/data/measured)."""

import json
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import pytest

import tpdeploy.profiles
from tests.planner.inputs import ask
from tpdeploy.harness.backtest.prediction import Predicted, predict_row
from tpdeploy.harness.backtest.table import Row, read_rows
from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.performance.kernels import Roofline, peak_flops
from tpdeploy.planner.search.evaluation import Candidate, evaluate
from tpdeploy.planner.workload import Workload
from tpdeploy.profiles.devices.accelerator import Kernel, KernelFormat
from tpdeploy.profiles.devices.catalog import efficiency_of, find_accelerator

MEASURED = Path(tpdeploy.profiles.__file__).parent / "data" / "measured" / "h200-vllm-0.26.0"
*STEADY, FROM_EMPTY = read_rows(MEASURED / "serving.csv").rows
LINES = [json.loads(line) for line in (MEASURED / "kernels.jsonl").read_text().splitlines()]
H200 = find_accelerator("H200")
KERNELS = efficiency_of(H200.architecture, "vllm").kernels
Line = dict[str, Any]


@pytest.mark.parametrize("row", STEADY, ids=lambda row: row["id"])
def test_served_latency_is_as_measured(row: Row) -> None:
    """Of a settled closed loop TPOT and tokens/s are right within 9 %, TTFT within its range."""
    load = Workload(
        input_tokens=int(row["input_tokens"]),
        output_tokens=int(row["output_tokens"]),
        length_spread=float(row["length_spread"]),
        concurrency=int(row["concurrency"]),
    )
    found = evaluate(ask(row["model"], "1xH200", workload=load), Parallelism(tensor=1))
    assert isinstance(found, Candidate)
    told = found.prediction
    assert told.tpot_distribution.mean == pytest.approx(float(row["tpot_ms"]), rel=0.09)
    served = float(row["output_tokens_per_s"])
    assert told.output_tokens_per_s.value == pytest.approx(served, rel=0.09)
    assert told.ttft_ms.low < float(row["ttft_ms"]) < told.ttft_ms.high


def test_a_benchmark_from_an_empty_server_is_as_measured() -> None:
    """Its first requests all wait for each other: TTFT is within its range, the rest within 5 %."""
    told = predict_row(FROM_EMPTY)
    assert isinstance(told, Predicted)
    assert told.tpot.predicted == pytest.approx(told.tpot.measured, rel=0.05)
    tokens = told.output_tokens_per_s
    assert tokens.predicted == pytest.approx(tokens.measured, rel=0.05)
    assert told.ttft.in_range


def roofline(kernel: Kernel, kind: KernelFormat) -> Roofline:
    """A kernel alone on an H200: nothing of what serving adds."""
    memory = H200.peaks.memory_bytes_per_s * kernel.memory
    return Roofline(peak_flops(H200, kind) * kernel.compute, memory, kernel.start_s)


def product(line: Line) -> float:
    """Seconds of a product of `rows` tokens with weights of k x n."""
    rows, k, n, kind = line["rows"], line["k"], line["n"], line["dtype"]
    width = 2 if kind == "bf16" else 1
    moved = width * k * (n + rows) + 2 * rows * n
    return roofline(KERNELS.matmul[kind], kind).seconds(2.0 * rows * k * n, moved)


def prompt(line: Line) -> float:
    """Seconds of causal attention of one prompt."""
    tokens, size = line["tokens"], line["head_size"]
    flops = 2.0 * line["heads"] * size * tokens**2
    moved = 2.0 * tokens * 2 * (line["heads"] + line["kv_heads"]) * size
    return roofline(KERNELS.prefill_attention["bf16"], "bf16").seconds(flops, moved)


def context(line: Line) -> float:
    """Seconds of one new token of each sequence attending to its context."""
    contexts, size = line["sequences"] * line["tokens"], line["head_size"]
    flops, moved = 4.0 * line["heads"] * size * contexts, 4.0 * contexts * line["kv_heads"] * size
    return roofline(KERNELS.decode_attention["bf16"], "bf16").seconds(flops, moved)


def experts(line: Line) -> float:
    """Seconds of one layer of routed experts."""
    weights = 3 * line["width"] * line["hidden"]  # of one expert
    rows = line["rows"] * line["top_k"]
    handed_on = 2.0 * rows * (2 * line["hidden"] + 3 * line["width"])
    kernel = roofline(KERNELS.experts["bf16"], "bf16")
    return kernel.seconds(2.0 * rows * weights, 2.0 * line["touched"] * weights, handed_on)


@pytest.mark.parametrize(
    ("chosen", "seconds", "error"),
    [
        ({"kind": "gemm", "dtype": "bf16"}, product, 0.15),
        # Measured over one prompt in a piece; what serves reads it in pages, which takes longer.
        ({"kind": "prefill"}, prompt, 0.35),
        ({"kind": "decode"}, context, 0.15),
        ({"kind": "moe"}, experts, 0.2),
    ],
    ids=["products", "prompts", "contexts", "experts"],
)
def test_kernels_are_as_measured(
    chosen: Line, seconds: Callable[[Line], float], error: float
) -> None:
    """The catalog's rates of Hopper, from others' tables, tell this card's kernels apart."""
    found = [line for line in LINES if chosen.items() <= line.items()]
    errors = [abs(seconds(line) / line["seconds"] - 1) for line in found]
    assert len(errors) >= 13
    assert median(errors) < error
