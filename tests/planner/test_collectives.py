"""All-reduce times: through the measured points, never falling with size, else a ring."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tpdeploy.planner.collectives import Interpolation, all_reduce, ring_seconds
from tpdeploy.profiles.fabric import LinkModel
from tpdeploy.profiles.gpus_spec import parse_gpus

SIZES = st.floats(min_value=1, max_value=2e9)


def link(bandwidth: float) -> LinkModel:
    return LinkModel(
        source="test", date=date(2026, 1, 1), hop_latency_s=2e-6, ring_bytes_per_s=bandwidth
    )


def test_measured_points_come_back_exactly() -> None:
    """At a measured size the measured time is the answer."""
    curve = Interpolation.through(((1024, 1e-5), (4096, 2e-5)))
    assert curve.seconds(1024) == pytest.approx(1e-5)
    assert curve.seconds(4096) == pytest.approx(2e-5)


def test_pcie_widths_cost_what_was_measured_on_l40s() -> None:
    """4 MB over PCIe takes 222, 1,235 and 5,149 us at 2, 4 and 8 GPUs (NCCL, L40S)."""
    curves = [c for c in parse_gpus("8xL40S").fabric.curves if c.algorithm == "nccl"]
    seconds = [Interpolation.through(curve.points).seconds(4 << 20) for curve in curves]
    assert seconds == pytest.approx([222e-6, 1235e-6, 5149e-6], rel=0.01)


MEASURED = {
    (gpus, group): all_reduce(parse_gpus(gpus), group)
    for gpus in ("8xH100", "8xA100", "8xL40S", "8xB200")
    for group in (2, 4, 8)
}


@given(case=st.sampled_from(sorted(MEASURED)), small=SIZES, large=SIZES)
def test_a_larger_message_is_never_faster(
    case: tuple[str, int], small: float, large: float
) -> None:
    """Noise in measured curves does not reach the model."""
    small, large = sorted((small, large))
    reduce = MEASURED[case]
    assert reduce.seconds(small) <= reduce.seconds(large) * (1 + 1e-9)


@given(size=SIZES, slow=st.floats(1e9, 1e12), gain=st.floats(1, 100), group=st.integers(2, 72))
def test_a_faster_link_is_never_slower(size: float, slow: float, gain: float, group: int) -> None:
    """More bandwidth never lengthens a ring all-reduce."""
    faster = ring_seconds(link(slow * gain), group, size)
    assert faster <= ring_seconds(link(slow), group, size)


def test_a_group_of_one_has_nothing_to_reduce() -> None:
    """Without tensor parallelism there is no communication."""
    assert all_reduce(parse_gpus("8xH100"), 1).seconds(1 << 30) == 0
