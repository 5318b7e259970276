"""The loads at which another split is chosen."""

from tests.planner.inputs import ask
from tpdeploy.planner.search.evaluation import Candidate
from tpdeploy.planner.search.search import search
from tpdeploy.planner.search.turning_points import chosen, roughly, turning_points
from tpdeploy.planner.workload import Workload


def test_wide_groups_are_for_light_loads() -> None:
    """Llama 70B on eight H100: the widest up to some load, from there two groups of four."""
    inputs = ask("llama-70b", "8xH100", workload=Workload(concurrency=32))
    (words,) = turning_points(inputs, search(inputs).ranked)
    assert words == ("Up to 64 requests in flight TP 8 x 1, from 256 requests in flight TP 4 x 2.")


def test_a_split_stays_while_it_is_as_good() -> None:
    """Two that are a tie under a lighter load are no turning point there."""
    inputs = ask("deepseek-v3", "8xMI300X", workload=Workload(concurrency=32))
    (words,) = turning_points(inputs, search(inputs).ranked)
    assert words == "TP 8 x 1 from 1 request in flight to 256 requests in flight."


def test_what_was_chosen_before_stays_only_in_a_tie() -> None:
    """TP 2 x 4 is far behind TP 8 x 1, which is chosen whatever was chosen before."""
    inputs = ask("llama-70b", "8xH100", workload=Workload(concurrency=32))
    answers = [roughly(inputs, each.parallelism) for each in search(inputs).ranked]
    assert all(isinstance(each, Candidate) for each in answers)
    assert chosen(answers, inputs, "TP 2 x 4") == chosen(answers, inputs) == "TP 8 x 1"
