"""Calibration with the kernels of the real engine."""

import json
from pathlib import Path

import pytest

from tests.e2e.commands import tpdeploy
from tpdeploy.backends.registry import load_backend
from tpdeploy.launcher.environments import find_environment
from tpdeploy.learning.calibrations import MeasuredMachine

pytestmark = pytest.mark.engine


def has_avx512() -> bool:
    return "avx512f" in Path("/proc/cpuinfo").read_text(encoding="utf-8").split()


def test_the_engines_own_kernels_are_measured_and_used(tmp_path: Path) -> None:
    """Every kernel of vLLM's CPU build can be called alone; a plan then names the measurement."""
    home = str(tmp_path)
    asked = ("calibrate", "--backend", "vllm", "--gpus", "2xCPU", "--quick", "--json")
    environment = find_environment(load_backend("vllm").environment("cpu"))
    assert environment is not None
    python = str(environment.python)
    found = MeasuredMachine.model_validate_json(
        tpdeploy(*asked, "--python", python, TPDEPLOY_HOME=home)
    )
    assert not [remark for remark in found.remarks if "cannot be called" in remark]
    kernels = {sample.operation: sample.kernel for sample in found.samples}
    assert kernels == {
        "read": "torch sum",
        "product": "vLLM",
        "small": "vLLM",
        "prompt": "vLLM",
        "context": "vLLM",
        # vLLM's builds without AVX-512 reduce by PyTorch.
        "all-reduce": "shared-memory" if has_avx512() else "gloo",
    }
    # A fit that follows its samples; how fast the machine is does not matter here.
    for kind in (found.matmul, found.prefill_attention, found.decode_attention):
        assert kind.error < 0.5
    plan = json.loads(
        tpdeploy("plan", "smollm2-135m", "--gpus", "2xCPU", "--json", TPDEPLOY_HOME=home)
    )
    assert "measured on this machine" in plan["prediction"]["tpot_ms"]["source"]
