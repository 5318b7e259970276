"""Plans against what was measured on one H100 with vLLM 0.26.0 (profiles/data/measured)."""

from pathlib import Path
from statistics import median

import pytest

import tpdeploy
import tpdeploy.profiles
from tpdeploy.api.options import Options
from tpdeploy.harness.backtest.table import Row, read_rows
from tpdeploy.learning.calibrations import MeasuredMachine, measured_here
from tpdeploy.planner.plan import Prediction
from tpdeploy.profiles.devices.catalog import efficiency_of, find_accelerator
from tpdeploy.profiles.machine.gpus_spec import parse_gpus
from tpdeploy.profiles.record import Dtype
from tpdeploy.records import read_json_record

MEASURED = Path(tpdeploy.profiles.__file__).parent / "data" / "measured" / "h100-vllm-0.26.0"
*SETTLED, _ = read_rows(MEASURED / "serving.csv").rows
DENSE = [row for row in SETTLED if row["model"] != "qwen3-30b-a3b"]


def predicted(row: Row) -> Prediction:
    """What a plan for the load of `row` predicts."""
    asked: Options = {
        "backend": "vllm",
        "input_tokens": int(row["input_tokens"]),
        "output_tokens": int(row["output_tokens"]),
        "length_spread": float(row["length_spread"]),
        "concurrency": int(row["concurrency"]),
    }
    if row["precision"] == "fp8":
        asked["quantization"] = "fp8"
    return tpdeploy.plan(row["model"], gpus="1xH100", **asked).prediction


@pytest.mark.parametrize("row", SETTLED, ids=lambda row: row["id"])
def test_steps_are_as_measured(row: Row) -> None:
    """TPOT is right within 15 %, tokens/s too, without anything fitted to them."""
    told = predicted(row)
    assert told.tpot_distribution.mean == pytest.approx(float(row["tpot_ms"]), rel=0.15)
    served = float(row["output_tokens_per_s"])
    assert told.output_tokens_per_s.value == pytest.approx(served, rel=0.15)


def test_first_tokens_are_as_measured() -> None:
    """TTFT of models without experts is right within a fifth in the median, and in its range."""
    errors = []
    for row in DENSE:
        told, measured = predicted(row), float(row["ttft_ms"])
        assert told.ttft_ms.low < measured < told.ttft_ms.high
        errors.append(abs(told.ttft_distribution.mean / measured - 1))
    assert median(errors) < 0.2


def calibrated() -> MeasuredMachine:
    """What calibrate wrote on this card."""
    return read_json_record(MEASURED / "calibration.json", MeasuredMachine)


def test_kernels_are_as_the_catalog_has_them() -> None:
    """The rates that calibrate fitted on this card are those of the catalog within a fifth."""
    found = calibrated()
    card = find_accelerator("H100")
    kernels = efficiency_of(card.architecture, "vllm").kernels
    memory = card.peaks.memory_bytes_per_s
    for measured, listed in (
        (found.matmul, kernels.matmul["bf16"]),
        (found.decode_attention, kernels.decode_attention["bf16"]),
    ):
        assert measured.bytes_per_s == pytest.approx(memory * listed.memory, rel=0.2)
    flops = card.peaks.flops_per_s[Dtype.BF16] * kernels.matmul["bf16"].compute
    assert found.matmul.flops_per_s == pytest.approx(flops, rel=0.2)


def test_decoding_is_computed_as_fast_with_a_calibration_as_without() -> None:
    """Its samples are limited by memory: the compute rate that fits them is only a lower bound."""
    cluster = parse_gpus("1xH100").changed(efficiency=efficiency_of("hopper", "vllm"))
    here = measured_here(cluster, calibrated())
    found = here.efficiency.kernels.decode_attention["bf16"]
    listed = cluster.efficiency.kernels.decode_attention["bf16"]
    assert found.compute == listed.compute
    assert found.memory != listed.memory
