"""A plan under other loads than its own."""

import pytest

from tests.planner.inputs import ask
from tpdeploy.errors import InputError
from tpdeploy.planner.inputs import PlanInputs
from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.planner.search.replay import at_load, curve, load_of, predict_plan, predict_split
from tpdeploy.planner.search.search import plan, search
from tpdeploy.planner.workload import Workload


def planned(load: Workload, gpus: str = "2xH100") -> tuple[PlanInputs, DeploymentPlan]:
    inputs = ask("llama-8b", gpus, workload=load)
    return inputs, plan(inputs, search(inputs))


def test_a_curve_goes_from_one_request_to_four_times_the_load() -> None:
    """Doubling loads, and the one that was asked about in its place."""
    loads = [load_of(load) for load in curve(Workload(concurrency=12))]
    assert loads == [1, 2, 4, 8, 12, 16, 32]


def test_a_curve_of_rates_goes_to_twice_the_rate() -> None:
    """The rate itself is one of them."""
    loads = [load_of(load) for load in curve(Workload(rate=2))]
    assert loads == [0.5, 1, 1.5, 2, 3, 4]


def test_the_requests_stay_what_they_were() -> None:
    """Only the load changes: tokens and targets are the plan's."""
    load = Workload(input_tokens=77, output_tokens=5, concurrency=3)
    assert at_load(load, 9) == Workload(input_tokens=77, output_tokens=5, concurrency=9)


def test_at_its_own_load_a_plan_does_what_it_says() -> None:
    """The prediction in the plan is the one at its load; others differ."""
    inputs, made = planned(Workload(concurrency=8))
    light, own = predict_plan(inputs, made, curve(made.workload)[2:4])
    assert own == made.prediction
    assert light.output_tokens_per_s.value < own.output_tokens_per_s.value


def test_all_loads_of_a_plan_are_predicted_from_one_source() -> None:
    """Whatever the plan said when it was made: its own load has the source of the others."""
    inputs, made = planned(Workload(concurrency=8))
    doubled = {"value": 2 * made.prediction.ttft_ms.value, "high": 1e9, "source": "an older one"}
    older = made.prediction.ttft_ms.model_copy(update=doubled)
    said = made.prediction.model_copy(update={"ttft_ms": older})
    found = predict_plan(inputs, made.model_copy(update={"prediction": said}), curve(made.workload))
    assert {each.ttft_ms.source for each in found} == {made.prediction.ttft_ms.source}
    assert found[3].ttft_ms == made.prediction.ttft_ms


def test_limits_edited_into_a_plan_are_kept_to() -> None:
    """With one sequence a step, a replica serves 64 clients as slowly as one."""
    inputs, made = planned(Workload(concurrency=2, output_tokens=4096), "1xH100")
    limits = made.limits.model_copy(update={"max_num_seqs": 1})
    edited = made.model_copy(update={"limits": limits})
    one, many = predict_plan(inputs, edited, [at_load(made.workload, n) for n in (1, 64)])
    assert many.output_tokens_per_s.value == pytest.approx(one.output_tokens_per_s.value, rel=0.05)


def test_a_split_that_cannot_run_is_refused() -> None:
    """A plan edited to a width that cuts a head is one clear line."""
    inputs, made = planned(Workload(concurrency=2), "3xH100")
    edited = made.model_copy(update={"parallelism": Parallelism(tensor=3)})
    with pytest.raises(InputError, match="TP 3 x 1: 32 attention heads cannot be divided by 3"):
        predict_plan(inputs, edited, curve(made.workload))


def test_another_split_is_predicted_up_to_where_it_fits() -> None:
    """Every load has its prediction; a split that never fits has none."""
    inputs = ask("llama-70b", "8xH100")
    loads = curve(Workload(concurrency=4))
    assert len(predict_split(inputs, Parallelism(tensor=4, replicas=2), loads)) == len(loads)
    assert predict_split(inputs, Parallelism(tensor=1, replicas=8), loads) == ()
