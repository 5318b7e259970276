"""MIG slices are devices with their share of a GPU."""

from time import process_time

import pytest

from tests.planner.inputs import ask
from tpdeploy.api.decision import leaves_count_open
from tpdeploy.errors import InputError
from tpdeploy.planner.search.search import plan, search
from tpdeploy.planner.workload import Workload
from tpdeploy.profiles.devices.accelerator import Accelerator
from tpdeploy.profiles.devices.catalog import accelerators, find_accelerator
from tpdeploy.profiles.devices.mig import profiles, sliced
from tpdeploy.profiles.machine.gpus_spec import parse_gpus
from tpdeploy.profiles.record import Dtype

SLICEABLE = [device for device in accelerators() if device.mig]
GIB = 2**30


@pytest.mark.parametrize(
    ("gpu", "names"),
    [
        ("A100-40GB", "1g.5gb 1g.10gb 2g.10gb 3g.20gb 4g.20gb 7g.40gb"),
        ("A100-80GB", "1g.10gb 1g.20gb 2g.20gb 3g.40gb 4g.40gb 7g.80gb"),
        ("H100-NVL", "1g.12gb 1g.24gb 2g.24gb 3g.47gb 4g.47gb 7g.94gb"),
        ("H200", "1g.18gb 1g.35gb 2g.35gb 3g.71gb 4g.71gb 7g.141gb"),
        ("B200", "1g.23gb 1g.45gb 2g.45gb 3g.90gb 4g.90gb 7g.180gb"),
        ("B300", "1g.34gb 1g.67gb 2g.67gb 3g.135gb 4g.135gb 7g.269gb"),
        ("A30", "1g.6gb 2g.12gb 4g.24gb"),
        ("RTX-PRO-6000", "1g.24gb 2g.48gb 4g.96gb"),
    ],
)
def test_profiles_have_the_names_that_nvidia_gives_them(gpu: str, names: str) -> None:
    """The tables of the MIG User Guide, from the size and the number of parts."""
    slices = find_accelerator(gpu).mig
    assert slices is not None
    assert " ".join(profile.name for profile in profiles(slices)) == names


@pytest.mark.parametrize("device", SLICEABLE, ids=lambda d: d.name)
def test_slices_are_no_more_than_their_gpu(device: Accelerator) -> None:
    """A slice is found by its own name, and as many as fit have no more than the whole."""
    assert device.mig is not None
    for profile in profiles(device.mig):
        slice_of = sliced(device, profile, device.mig)
        assert find_accelerator(slice_of.name) == slice_of
        many = min(device.mig.compute // profile.compute, device.mig.memory // profile.memory)
        assert many * slice_of.peaks.memory_bytes <= device.peaks.memory_bytes
        assert many * slice_of.peaks.memory_bytes_per_s <= device.peaks.memory_bytes_per_s
        for dtype, rate in slice_of.peaks.flops_per_s.items():
            assert many * rate <= device.peaks.flops_per_s[dtype] * 1.000001


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("a100-3g.20gb", "A100-SXM-40GB-3g.20gb"),
        ("a100-1g.10gb", "A100-SXM-80GB-1g.10gb"),
        ("1xH100-1g.10gb", "H100-SXM-80GB-1g.10gb"),
        ("h100-3g.47gb", "H100-NVL-94GB-3g.47gb"),
        ("h200_3g.71gb", "H200-SXM-141GB-3g.71gb"),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", "A100-SXM-40GB-1g.5gb"),
        ("a100-pcie-mig-2g.20gb", "A100-PCIe-80GB-2g.20gb"),
    ],
)
def test_slices_are_found_as_people_name_them(spec: str, name: str) -> None:
    """The memory of the profile tells which GPU of a kind is meant."""
    cluster = parse_gpus(spec)
    assert (cluster.accelerator.name, cluster.fabric.name) == (name, "mig")
    assert not leaves_count_open(spec, cluster)


def test_a_slice_has_its_share() -> None:
    """3g.40gb of an H100: half of memory and bandwidth, three sevenths of compute."""
    whole, part = find_accelerator("H100").peaks, find_accelerator("H100-3g.40gb").peaks
    assert part.memory_bytes_per_s == whole.memory_bytes_per_s / 2
    assert part.flops_per_s[Dtype.BF16] == pytest.approx(whole.flops_per_s[Dtype.BF16] * 3 / 7)
    assert 39 * GIB < part.memory_bytes < 40 * GIB


def test_a_slice_is_planned_slower_than_its_gpu() -> None:
    """Tokens take longer on 2g.20gb than on the whole A100."""
    times = []
    for gpu in ("1xA100", "1xA100-2g.20gb"):
        inputs = ask("qwen3-1.7b", gpu, workload=Workload(concurrency=2), tensor=1)
        times.append(plan(inputs, search(inputs)).prediction.tpot_ms.value)
    assert 1.5 < times[1] / times[0] < 4


def test_a_name_of_any_length_is_read_at_once() -> None:
    """What separates a GPU from its profile is not tried in every way."""
    began = process_time()
    for end in ("", "1g.5g", "1g.5gb"):
        with pytest.raises(InputError, match="unknown GPU"):
            parse_gpus("a" + "_" * 20_000 + end)
    assert process_time() - began < 1


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("a100-3g.21gb", "A100-SXM-80GB has no MIG profile 3g.21gb; it has 1g.10gb, 1g.20gb"),
        ("l4-1g.3gb", "L4 has no MIG slices"),
        ("7xa100-1g.5gb", "MIG slices do not reach one another; plan one"),
        ("foo-1g.5gb", "unknown GPU foo-1g.5gb"),
    ],
)
def test_what_is_no_slice_is_refused_with_what_would_work(spec: str, words: str) -> None:
    """The profiles that there are, or why there are none."""
    with pytest.raises(InputError, match=words):
        parse_gpus(spec)
