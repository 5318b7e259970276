"""GPUs are found under the names that tables give them."""

import pytest

from tpdeploy.errors import InputError
from tpdeploy.harness.backtest.gpu_names import find_gpu


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("H100 SXM 80GB", "H100-SXM-80GB"),
        ("H200 SXM 141GB", "H200-SXM-141GB"),
        ("B200 SXM 180GB", "B200-SXM-180GB"),
        ("B300 SXM", "B300-SXM-288GB"),
        ("GB200", "GB200-186GB"),
        ("GB200 NVL72", "GB200-186GB"),
        ("A100 SXM 80GB", "A100-SXM-80GB"),
        ("NVIDIA A100-SXM4-80GB", "A100-SXM-80GB"),
        ("A100-SXM4-40GB", "A100-SXM-40GB"),
        ("NVIDIA H100 80GB HBM3", "H100-SXM-80GB"),
        ("h200_sxm", "H200-SXM-141GB"),
        ("H100 PCIe 80GB", "H100-PCIe-80GB"),
        ("A10G (AWS g5)", "A10G"),
        ("L40S", "L40S"),
        ("NVIDIA L40S", "L40S"),
        ("H20", "H20-96GB"),
        ("RTX PRO 6000", "RTX-PRO-6000-Server"),
        ("RTX PRO 6000 Blackwell Server Edition", "RTX-PRO-6000-Server"),
        ("AMD Instinct MI300X", "MI300X-192GB"),
    ],
)
def test_gpus_are_found_as_tables_write_them(written: str, meant: str) -> None:
    """Spaces, makers and form factors do not hide the GPU."""
    assert find_gpu(written).name == meant


@pytest.mark.parametrize("written", ["H100 SXM 999GB", "H300", ""])
def test_a_gpu_that_is_not_known_is_refused(written: str) -> None:
    """Nothing is dropped that tells one GPU from another."""
    with pytest.raises(InputError, match="unknown GPU"):
        find_gpu(written)
