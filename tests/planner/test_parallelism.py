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
        (Parallelism(tensor=1, data=8, expert=8), 8, 8, "attention DP 8 + EP"),
        (Parallelism(tensor=2, data=4, replicas=2), 8, 16, "attention DP 4 x TP 2"),
        (Parallelism(tensor=2, data=2, pipeline=2), 8, 8, "attention DP 2 x TP 2 x PP 2"),
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
    with pytest.raises(ValidationError, match=r"here 1 or 8, not 4"):
        Parallelism(tensor=4, data=2, expert=4)


def test_a_whole_expert_is_on_one_rank_and_all_else_is_divided() -> None:
    """Expert parallelism changes by what a routed expert is divided, and nothing else."""
    cut, whole = Parallelism.of(8), Parallelism.of(8, expert_parallel=True)
    assert (cut.shards(routed=True), cut.shards(routed=False)) == (8, 8)
    assert (whole.shards(routed=True), whole.shards(routed=False)) == (1, 8)
    assert (whole.kv_shards, whole.with_replicas(3).devices) == (8, 24)


def test_data_parallel_attention_divides_the_experts_alone() -> None:
    """Each of 4 data ranks has 2 tensor ranks of its own; the experts are spread over all 8."""
    whole = Parallelism.of(2, data=4, expert_parallel=True)
    assert (whole.stage_ranks, whole.lanes, whole.kv_shards, whole.expert) == (8, 4, 2, 8)
    assert (whole.shards(routed=True), whole.shards(routed=False)) == (1, 2)
    assert Parallelism.of(2, data=4).shards(routed=True) == 8
    assert not whole.plain


def test_a_split_written_before_there_was_data_parallel_attention_has_none() -> None:
    """An old plan is read as it was meant."""
    assert Parallelism.model_validate({"tensor": 8, "expert": 8}).data == 1
