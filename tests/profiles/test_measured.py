"""What was measured on a machine is kept, and plans for that machine count with it."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tpdeploy.errors import InputError
from tpdeploy.learning import calibrations as measured
from tpdeploy.learning.applied import with_engine_here, with_engine_measured
from tpdeploy.learning.calibrations import (
    FittedRates,
    MeasuredMachine,
    Sample,
    measured_here,
    shares_of,
)
from tpdeploy.profiles.devices.catalog import with_engine
from tpdeploy.profiles.devices.cluster import Cluster
from tpdeploy.profiles.devices.fabric import Curve
from tpdeploy.profiles.machine.cores import processor
from tpdeploy.profiles.machine.gpus_spec import parse_gpus
from tpdeploy.profiles.models.library import load_model
from tpdeploy.profiles.record import Dtype

CURVE = Curve.model_validate(
    {
        "operation": "all-reduce",
        "algorithm": "shared-memory",
        "group_size": 2,
        "gpu": "this machine",
        "points": [(1024, 1e-6), (4096, 2e-6)],
        "source": "a test",
        "date": "2026-01-02",
    }
)


def cpu() -> Cluster:
    return with_engine(parse_gpus("1xCPU"), "vllm")


def rates(flops: float, moved: float, start: float = 0.0, kernel: str = "vLLM") -> FittedRates:
    return FittedRates(
        kernel=kernel, flops_per_s=flops, bytes_per_s=moved, start_s=start, error=0.1
    )


def machine(cluster: Cluster, **changes: object) -> MeasuredMachine:
    """A machine whose products reach 300 GFLOP/s and 30 GB/s, its attention less."""
    found = MeasuredMachine(
        engine="vllm",
        device=cluster.accelerator.name,
        hardware=processor(),
        shares=shares_of(cluster),
        fabric=cluster.fabric.name,
        versions={"vllm": "1.2.3"},
        measured_at=datetime(2026, 1, 2, tzinfo=UTC),
        read_bytes_per_s=20e9,
        matmul=rates(300e9, 30e9, 1e-5),
        small=rates(1.0, 6e9, 9e-5) if cluster.cpus else None,
        prefill_attention=rates(150e9, 10e9),
        decode_attention=rates(60e9, 15e9),
        curves=(CURVE,),
        samples=(Sample(operation="read", shape={"bytes": 1}, kernel="x", seconds=1, spread=0),),
    )
    return found.model_copy(update=changes)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TPDEPLOY_HOME", str(tmp_path))
    return tmp_path


def test_a_cpu_has_the_best_rates_measured_as_its_peaks() -> None:
    """No datasheet tells a share's; every kernel is a share of them."""
    cluster = measured_here(cpu(), machine(cpu()))
    peaks, kernels = cluster.accelerator.peaks, cluster.efficiency.kernels
    assert (peaks.memory_bytes_per_s, peaks.flops_per_s[Dtype.BF16]) == (30e9, 300e9)
    assert kernels.matmul["bf16"].compute == 1.0
    assert kernels.matmul["bf16"].start_s == 1e-5
    assert kernels.prefill_attention["bf16"].compute == pytest.approx(0.5)
    assert kernels.decode_attention["bf16"].memory == pytest.approx(0.5)
    assert kernels.latent_decode == kernels.decode_attention
    assert kernels.small == pytest.approx(0.2)
    assert cluster.efficiency.serving.layer_s == 9e-5
    assert cluster.efficiency.errors.tpot == measured.CALIBRATED_ERROR


def test_a_gpu_keeps_its_datasheet_peaks() -> None:
    """Products are shares of them, at most 1; PyTorch's attention stands for no engine's."""
    catalog = with_engine(parse_gpus("1xH100"), "vllm")
    peaks = catalog.accelerator.peaks
    products = rates(0.6 * peaks.flops_per_s[Dtype.BF16], 2 * peaks.memory_bytes_per_s)
    attention = rates(1e12, 1e12, kernel="torch attention")
    found = machine(
        catalog, matmul=products, prefill_attention=attention, decode_attention=attention
    )
    cluster = measured_here(catalog, found)
    assert cluster.accelerator.peaks == peaks
    kernels, known = cluster.efficiency.kernels, catalog.efficiency.kernels
    assert kernels.matmul["bf16"].compute == pytest.approx(0.6)
    assert kernels.matmul["bf16"].memory == 1.0
    assert kernels.matmul["fp8"] == known.matmul["fp8"]
    assert kernels.prefill_attention == known.prefill_attention
    assert kernels.experts == known.experts
    assert cluster.efficiency.errors == catalog.efficiency.errors


def test_measured_curves_replace_those_of_the_same_width() -> None:
    """Of another fabric they are not used."""
    cluster = measured_here(cpu(), machine(cpu()))
    assert [c for c in cluster.fabric.curves if c.group_size == 2] == [CURVE]
    elsewhere = measured_here(cpu(), machine(cpu(), fabric="pcie-gen4"))
    assert CURVE not in elsewhere.fabric.curves


def test_plans_count_with_what_was_kept_and_say_so() -> None:
    """Found by engine, device and cores; its source stands in the cluster's words."""
    path = measured.keep(machine(cpu()))
    assert path.is_file()
    cluster = with_engine_here(parse_gpus("1xCPU"), "vllm", load_model("smollm2-135m"))
    assert cluster.accelerator.peaks.memory_bytes_per_s == 30e9
    assert "tpdeploy calibrate 2026-01-02" in cluster.measured[0]
    assert with_engine_measured(parse_gpus("1xCPU"), "deepspeed-mii").measured == ()
    assert with_engine_measured(parse_gpus("1xH100"), "vllm").measured == ()


def test_another_processor_has_not_been_measured() -> None:
    """A home folder may be shared by machines of several kinds."""
    measured.keep(machine(cpu(), hardware="another processor"))
    assert measured.find(parse_gpus("1xCPU"), "vllm") is None


def test_a_broken_file_is_told_with_its_remedy() -> None:
    """Its path, and the command that writes it anew."""
    path = measured.keep(machine(cpu()))
    path.write_text('{"version": 2}')
    with pytest.raises(InputError, match=r"cpu-\d+.json: .*measure again: tpdeploy calibrate"):
        measured.find(parse_gpus("1xCPU"), "vllm")


@pytest.mark.parametrize("rate", [1e-300, 0.0, 1e300, float("inf"), float("nan")])
def test_rates_of_no_device_are_refused(rate: float) -> None:
    """A file with one was not written by calibrate."""
    kept = measured.keep(machine(cpu()))
    content = json.loads(kept.read_text())
    content["matmul"]["flops_per_s"] = rate
    kept.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"matmul\.flops_per_s: .*; measure again"):
        with_engine_here(cpu(), "vllm", load_model("smollm2-135m"))
