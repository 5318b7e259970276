"""Single measurements become the rates that kernels reach."""

import pytest

from tpdeploy.learning.calibrations import Operation, Sample
from tpdeploy.learning.roofline_fit import curves, fit_rates, read_rate, work
from tpdeploy.planner.performance.kernels import Roofline

TRUTH = Roofline(flops_per_s=400e9, bytes_per_s=20e9, start_s=5e-6)
PRODUCTS = [
    {"rows": rows, "inputs": inputs, "outputs": outputs}
    for inputs, outputs in ((576, 1536), (2048, 2048), (4096, 4096))
    for rows in (1, 4, 16, 64, 256, 1024)
]
TOLD: dict[str, object] = {"source": "a test", "date": "2026-01-02"}


def sample(
    operation: Operation, shape: dict[str, int], seconds: float = 1.0, kernel: str = "x"
) -> Sample:
    return Sample(operation=operation, shape=shape, kernel=kernel, seconds=seconds, spread=0.01)


def timed(operation: Operation, shape: dict[str, int], slower: float = 1.0) -> Sample:
    """A sample that takes what TRUTH says, times `slower`."""
    done = work(sample(operation, shape))
    return sample(operation, shape, slower * TRUTH.seconds(done.flops, done.moved_bytes))


def test_work_is_counted_as_the_step_model_counts_it() -> None:
    """FLOPs and bytes of each operation, by hand."""
    product = work(sample("product", {"rows": 2, "inputs": 3, "outputs": 5}))
    assert (product.flops, product.moved_bytes) == (60, 2 * (15 + 2 * 8))
    heads = {"heads": 4, "kv_heads": 2, "head_size": 8, "tokens": 16}
    prompt = work(sample("prompt", heads))
    assert (prompt.flops, prompt.moved_bytes) == (4 * 4 * 8 * 128, 2 * 16 * 2 * 6 * 8)
    context = work(sample("context", {**heads, "sequences": 3}))
    assert (context.flops, context.moved_bytes) == (4 * 4 * 8 * 48, 48 * 2 * 2 * 8 * 2)
    small = work(sample("small", {"rows": 2, "hidden": 8, "wide": 32}))
    assert (small.flops, small.moved_bytes) == (0, 2 * (8 * 8 + 3 * 32) * 2)


def test_the_roofline_behind_the_samples_is_found() -> None:
    """Both rates and the start come back from times that follow them."""
    found = fit_rates([timed("product", shape) for shape in PRODUCTS], "product")
    assert found.flops_per_s == pytest.approx(TRUTH.flops_per_s, rel=0.02)
    assert found.bytes_per_s == pytest.approx(TRUTH.bytes_per_s, rel=0.02)
    assert found.start_s == pytest.approx(TRUTH.start_s, rel=0.1)
    assert found.error < 0.01


def test_a_disturbed_sample_does_not_spoil_the_fit() -> None:
    """One shape measured three times too slow moves the rates by less than a tenth."""
    samples = [timed("product", shape, 3 if i == 4 else 1) for i, shape in enumerate(PRODUCTS)]
    found = fit_rates(samples, "product")
    assert found.flops_per_s == pytest.approx(TRUTH.flops_per_s, rel=0.1)
    assert found.bytes_per_s == pytest.approx(TRUTH.bytes_per_s, rel=0.1)


def test_the_quicker_of_two_passes_counts() -> None:
    """A machine that was busy in the first pass is measured as it was in the second."""
    slow = [timed("product", shape, slower=2) for shape in PRODUCTS]
    found = fit_rates([*slow, *(timed("product", shape) for shape in PRODUCTS)], "product")
    assert found.bytes_per_s == pytest.approx(TRUTH.bytes_per_s, rel=0.02)


def test_a_rate_that_no_sample_shows_stays_near_the_best_seen() -> None:
    """Products of one row tell nothing of arithmetic: it gets at most three times theirs."""
    samples = [timed("product", shape) for shape in PRODUCTS if shape["rows"] == 1]
    found = fit_rates(samples, "product")
    best = max(work(s).flops / s.seconds for s in samples)
    assert best <= found.flops_per_s <= 3 * best * 1.001
    assert found.bytes_per_s == pytest.approx(TRUTH.bytes_per_s, rel=0.25)


def test_reading_counts_the_best_repeat_of_all() -> None:
    """Bytes by seconds."""
    samples = [sample("read", {"bytes": 100}, 2.0), sample("read", {"bytes": 100}, 1.0)]
    assert read_rate(samples) == 100


def test_each_width_of_an_all_reduce_is_a_curve() -> None:
    """Points by size; gloo, which no engine uses within a machine, is left out."""
    samples = [
        sample("all-reduce", {"group": width, "bytes": size}, size * 1e-9, kernel)
        for kernel, width in (("nccl", 2), ("nccl", 4), ("gloo", 2))
        for size in (1024, 4096)
    ]
    found = curves(samples, "H100", TOLD)
    assert [(c.algorithm, c.group_size, len(c.points)) for c in found] == [
        ("nccl", 2, 2),
        ("nccl", 4, 2),
    ]
    assert found[0].points == ((1024, 1024e-9), (4096, 4096e-9))
