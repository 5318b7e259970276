"""Every bundled device is planned for."""

import pytest

from tests.planner.inputs import ask
from tests.tiers import tiered
from tpdeploy.planner.search.search import plan, search
from tpdeploy.planner.workload import Workload
from tpdeploy.profiles.devices.accelerator import Accelerator
from tpdeploy.profiles.devices.catalog import accelerators, find_accelerator

FEW = Workload(concurrency=2, input_tokens=128, output_tokens=16)
GPUS = [device for device in accelerators() if device.platform != "cpu"]
FAST = [find_accelerator(name) for name in ("H100-SXM-80GB", "MI300X-192GB", "RTX-4090")]


@pytest.mark.parametrize("device", tiered(GPUS, FAST), ids=lambda d: d.name)
def test_a_small_model_fits_and_is_predicted(device: Accelerator) -> None:
    """One of each serves SmolLM2, and reads its weights no faster than its memory allows."""
    inputs = ask("smollm2-360m", f"1x{device.name}", workload=FEW, tensor=1)
    made = plan(inputs, search(inputs))
    assert made.cluster.gpu == device.name
    least_ms = 1e3 * made.memory_per_gpu.weights_bytes / device.peaks.memory_bytes_per_s
    assert made.prediction.tpot_ms.value > least_ms
