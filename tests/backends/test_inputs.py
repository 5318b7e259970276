"""The question put together again from a plan."""

from dataclasses import replace

import pytest

from tests.planner.inputs import ask
from tpdeploy.backends.inputs import inputs_of
from tpdeploy.backends.registry import load_backend
from tpdeploy.backends.rules import engine_rules
from tpdeploy.errors import InputError
from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.planner.search.evaluation import Candidate, evaluate
from tpdeploy.planner.search.search import plan, search
from tpdeploy.planner.workload import Workload
from tpdeploy.profiles.machine.gpus_spec import parse_gpus


def planned(model: str, gpus: str, load: Workload) -> DeploymentPlan:
    inputs = ask(model, gpus, workload=load)
    rules = engine_rules(load_backend("vllm"), inputs.shape, inputs.cluster)
    asked = replace(inputs, engine=rules)
    return plan(asked, search(asked))


@pytest.mark.parametrize(
    ("model", "gpus", "load"),
    [
        ("llama-70b", "8xH100", Workload(concurrency=32)),
        ("qwen3-30b-a3b", "1xH100", Workload(rate=1, output_tokens=64)),
        ("llama-70b", "2x8xH100", Workload(concurrency=64)),
        ("smollm2-135m", "2xCPU", Workload(input_tokens=128, output_tokens=32, concurrency=4)),
    ],
)
def test_the_same_question_has_the_same_answer(model: str, gpus: str, load: Workload) -> None:
    """A plan's own prediction comes out again, from the plan alone."""
    made = planned(model, gpus, load)
    again = evaluate(inputs_of(made), made.parallelism)
    assert isinstance(again, Candidate)
    assert again.prediction == made.prediction


def test_a_plan_keeps_its_network() -> None:
    """Another than such machines usually have is not forgotten."""
    cluster = parse_gpus("2x8xH100", network="tcpxo-200g")
    inputs = replace(ask("llama-70b", "2x8xH100"), cluster=cluster)
    made = plan(inputs, search(inputs))
    assert made.cluster.network == "tcpxo-200g"
    rebuilt = inputs_of(made.model_copy(update={"backend": "vllm"})).cluster.network
    assert rebuilt == cluster.network


def test_a_model_that_is_not_known_here_is_refused() -> None:
    """A plan from elsewhere may name a folder that this machine does not have."""
    made = planned("llama-8b", "1xH100", Workload(concurrency=1))
    model = made.model.model_copy(update={"id": "gone", "path": "/nowhere/gone"})
    with pytest.raises(InputError, match="/nowhere/gone"):
        inputs_of(made.model_copy(update={"model": model}))
