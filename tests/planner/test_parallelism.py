"""One record says how devices are used, in numbers and in words."""

import pytest
from pydantic import ValidationError

from tpdeploy.planner.parallelism import Parallelism


@pytest.mark.parametrize(
    ("split", "ranks", "devices", "words"),
    [
        (Parallelism(tensor=8), 8, 8, "TP 8"),
        (Parallelism(tensor=4, replicas=2), 4, 8, "TP 4"),
        (Parallelism(tensor=8, pipeline=2, replicas=3), 16, 48, "TP 8 x PP 2"),
        (Parallelism(tensor=8, expert=8), 8, 8, "TP 8 + EP"),
        (Parallelism(tensor=4, pipeline=2, expert=4), 8, 8, "TP 4 x PP 2 + EP"),
    ],
)
def test_a_split_is_counted_and_named(
    split: Parallelism, ranks: int, devices: int, words: str
) -> None:
    """Ranks of a replica, devices of all, and the split as people write it."""
    assert (split.ranks, split.devices, split.words) == (ranks, devices, words)


def test_experts_are_split_over_all_ranks_or_whole_on_each() -> None:
    """There is nothing between: two of four ranks cannot share experts."""
    with pytest.raises(ValidationError, match=r"here 1 or 4, not 2"):
        Parallelism(tensor=4, expert=2)


def test_a_whole_expert_is_on_one_rank_and_all_else_is_divided() -> None:
    """Expert parallelism changes by what a routed expert is divided, and nothing else."""
    cut, whole = Parallelism.of(8), Parallelism.of(8, expert_parallel=True)
    assert (cut.shards(routed=True), cut.shards(routed=False)) == (8, 8)
    assert (whole.shards(routed=True), whole.shards(routed=False)) == (1, 8)
    assert (whole.kv_shards, whole.with_replicas(3).devices) == (8, 24)
