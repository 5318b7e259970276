"""The link model: more bytes, more devices or a slower link never make anything faster."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tpdeploy.planner.performance.link_model import LINK_TIMES, LinkTime, point_to_point_seconds
from tpdeploy.profiles.devices.fabric import LinkModel

SIZES = st.floats(min_value=1, max_value=2e9)
GROUPS = st.integers(2, 128)
TIMES = sorted({time.__name__: time for time in LINK_TIMES.values()}.items())


def link(bandwidth: float, latency: float = 2e-6) -> LinkModel:
    return LinkModel(
        source="test", date=date(2026, 1, 1), hop_latency_s=latency, ring_bytes_per_s=bandwidth
    )


@pytest.mark.parametrize(("name", "time"), TIMES)
@given(size=SIZES, slow=st.floats(1e9, 1e12), gain=st.floats(1, 100), group=GROUPS)
def test_a_faster_link_is_never_slower(
    name: str, time: LinkTime, size: float, slow: float, gain: float, group: int
) -> None:
    """More bandwidth never lengthens a collective."""
    assert time(link(slow * gain), group, size) <= time(link(slow), group, size), name


@pytest.mark.parametrize(("name", "time"), TIMES)
@given(size=SIZES, narrow=GROUPS, more=st.integers(0, 64))
def test_a_wider_group_is_never_faster(
    name: str, time: LinkTime, size: float, narrow: int, more: int
) -> None:
    """The same message takes more devices at least as long."""
    bound = time(link(1e10), narrow + more, size) * (1 + 1e-12)
    assert time(link(1e10), narrow, size) <= bound, name


@pytest.mark.parametrize(("name", "time"), TIMES)
@given(size=SIZES, group=GROUPS, more=st.floats(1, 100))
def test_a_larger_message_is_never_faster(
    name: str, time: LinkTime, size: float, group: int, more: float
) -> None:
    """More bytes never take less time."""
    assert time(link(1e10), group, size) <= time(link(1e10), group, size * more), name


@pytest.mark.parametrize(("name", "time"), TIMES)
@given(size=SIZES, group=GROUPS)
def test_bytes_never_leave_faster_than_the_link(
    name: str, time: LinkTime, size: float, group: int
) -> None:
    """What each rank must send, at least (n-1)/n of the message, takes the link's bandwidth."""
    assert time(link(1e10), group, size) >= (group - 1) / group * size / 1e10, name


def test_an_all_reduce_is_a_reduce_scatter_and_an_all_gather() -> None:
    """By hand: eight devices of 10 GB/s and 2 us a hop, 8 MB."""
    eight = link(1e10)
    half = LINK_TIMES["all-gather"](eight, 8, 8e6)
    assert half == pytest.approx(3 * 2e-6 + 7e-4)
    assert LINK_TIMES["all-reduce"](eight, 8, 8e6) == pytest.approx(2 * half)


def test_one_message_is_a_hop_and_its_bytes() -> None:
    """By hand: 1 MB at 10 GB/s and 2 us."""
    assert point_to_point_seconds(link(1e10), 1e6) == pytest.approx(102e-6)
