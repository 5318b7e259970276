"""What constants would explain, and what noise costs a choice."""

import random

import pytest

from benchmarks.choice import Run, cases, ours
from benchmarks.oracle import corrected, left, noisy


def run(width: int, measured_per_s: float, predicted_per_s: float, tokens: str = "128") -> Run:
    """One width with its share of eight requests on eight GPUs."""
    same = ("vllm", "m", "bf16", "H100", tokens, tokens)
    return Run(same, width, width, measured_per_s, 10.0, predicted_per_s, 10.0)


def test_a_constant_of_a_group_leaves_nothing() -> None:
    """Each group is off by its own factor; who is alone in one tells nothing."""
    logs = [("a", 0.5), ("a", 0.5), ("b", -0.2), ("b", -0.2), ("b", -0.2), ("alone", 3.0)]
    assert left(logs) == [0.0] * 5


def test_what_a_constant_does_not_explain_is_left() -> None:
    """Not its own error: the median of the others is taken off."""
    assert left([("a", 0.1), ("a", 0.3)]) == pytest.approx([-0.2, 0.2])


def test_a_constant_of_each_width_is_of_runs_with_other_tokens() -> None:
    """TP 8 is predicted 1.5 times too high with whatever tokens: then TP 4 is picked."""
    found = [
        run(width, measured, factor * measured, tokens)
        for tokens, measured8 in (("128", 150.0), ("2048", 75.0))
        for width, measured, factor in ((4, measured8 * 0.6, 1.0), (8, measured8, 1.5))
    ]
    assert [ours(case).width for case in cases(found)[0]] == [8, 8]
    right, _ = cases(corrected(found))
    assert [ours(case).width for case in right] == [4, 4]
    assert all(case.right(ours) for case in right)


def test_without_an_error_every_choice_is_right() -> None:
    """And with a large one some are wrong."""
    found = [run(4, 45.0, 1.0), run(8, 100.0, 1.0)]
    sure, _ = cases(noisy(found, 0.0, random.Random(1)))  # noqa: S311 - reproducible
    assert all(case.right(ours) for case in sure)
    draw = random.Random(1)  # noqa: S311 - as above
    shares = [case.right(ours) for _ in range(200) for case in cases(noisy(found, 0.3, draw))[0]]
    assert 0.5 < sum(shares) / len(shares) < 0.95
