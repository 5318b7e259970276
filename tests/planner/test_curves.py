"""Measured curves: through their points, never falling, carried over to other groups."""

import pytest

from tpdeploy.planner.performance.interpolation import Interpolation, nearest
from tpdeploy.profiles.machine.gpus_spec import parse_gpus


def test_measured_points_come_back_exactly() -> None:
    """At a measured size the measured time is the answer."""
    curve = Interpolation.through(((1024, 1e-5), (4096, 2e-5)))
    assert curve.seconds(1024) == pytest.approx(1e-5)
    assert curve.seconds(4096) == pytest.approx(2e-5)


def test_noise_that_makes_a_larger_message_faster_is_removed() -> None:
    """The slower time of a smaller message holds."""
    curve = Interpolation.through(((1024, 2e-5), (2048, 1e-5), (4096, 3e-5)))
    assert curve.seconds(2048) == pytest.approx(2e-5)


def test_beyond_the_last_point_its_bandwidth_holds() -> None:
    """Twice the bytes of the largest message take twice its time."""
    curve = Interpolation.through(((1024, 1e-5), (4096, 2e-5)))
    assert curve.seconds(8192) == pytest.approx(4e-5)


def test_a_curve_is_scaled_by_how_much_longer_a_model_takes() -> None:
    """Twice as long in the model is twice as long in the curve."""
    curve = Interpolation.through(((1024, 1e-5), (4096, 2e-5)))
    twice = curve.scaled(lambda size: 2 * size, lambda size: size)
    assert twice.times == pytest.approx((2e-5, 4e-5))


def test_a_curve_that_begins_late_falls_as_the_model_before_it() -> None:
    """A first point of 1 MiB is no latency: a small message takes the model's share of it."""
    curve = Interpolation.through(((1 << 20, 8e-5), (1 << 22, 2e-4)))
    begun = curve.begun(lambda size: 1e-5 if size < 1 << 20 else 2e-5)
    assert begun.seconds(1024) == pytest.approx(4e-5)
    assert begun.seconds(1 << 20) == pytest.approx(8e-5)


def test_the_nearest_group_is_so_in_proportion_and_of_two_the_wider() -> None:
    """Six takes the curve of eight, three that of four, and sixteen that of eight."""
    curves = [
        c
        for c in parse_gpus("8xH100").fabric.curves
        if (c.operation, c.algorithm) == ("all-reduce", "nccl")
    ]
    assert [nearest(curves, group).group_size for group in (3, 6, 16)] == [4, 8, 8]
