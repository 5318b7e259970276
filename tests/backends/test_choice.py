"""An engine is chosen by what is predicted for it, and never for less than the error of that."""

from dataclasses import replace
from functools import partial
from typing import ClassVar

import pytest

from tests.launcher.standin_backend import StandinBackend
from tpdeploy.backends.base import Backend, Capability, Platform, Problem
from tpdeploy.backends.choice import ask_one, choose
from tpdeploy.backends.rules import engine_rules
from tpdeploy.backends.vllm import VllmBackend
from tpdeploy.errors import InputError
from tpdeploy.planner.inputs import PlanInputs
from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.planner.search.search import Solved, search
from tpdeploy.planner.workload import Workload
from tpdeploy.profiles.devices.catalog import with_engine
from tpdeploy.profiles.machine.gpus_spec import parse_gpus
from tpdeploy.profiles.models.library import load_model


class Quick(StandinBackend):
    """An engine whose predictions the tests decide."""

    name: ClassVar[str] = "quick"
    order: ClassVar[int] = 90


class Old(Quick):
    """A quick one nobody maintains."""

    name: ClassVar[str] = "old"
    legacy: ClassVar[str] = "last release long ago"


class Unable(StandinBackend):
    """Finds fault with every plan."""

    name: ClassVar[str] = "unable"

    def check(self, plan: DeploymentPlan) -> list[Problem]:
        return [Problem("no Llamas", "plan another model")]


class Elsewhere(StandinBackend):
    """Runs on no platform."""

    name: ClassVar[str] = "elsewhere"

    def capability(self, platform: Platform) -> Capability | None:
        return None


def ask(engine: Backend, gpus: str = "1xH100", speed: float = 1.0, **load: int) -> PlanInputs:
    """Llama 8B; `speed` divides what the engines called quick and old add to a step."""
    shape, cluster = load_model("llama-8b"), parse_gpus(gpus)
    if isinstance(engine, Quick):
        found = with_engine(cluster, "vllm").efficiency
        kernels = found.kernels.model_copy(
            update={
                "matmul": {
                    form: k.model_copy(
                        update={"compute": k.compute * speed, "memory": k.memory * speed}
                    )
                    for form, k in found.kernels.matmul.items()
                }
            }
        )
        cluster = cluster.model_copy(
            update={
                "efficiency": found.model_copy(update={"kernels": kernels, "engine": engine.name})
            }
        )
    else:
        cluster = with_engine(cluster, engine.name)
    workload = Workload(concurrency=load.get("concurrency", 8))
    rules = engine_rules(engine, shape, cluster)
    return PlanInputs(shape, cluster, workload, rules, shape.dtype)


def solve(inputs: PlanInputs) -> Solved:
    return inputs, search(inputs)


def test_a_difference_within_the_error_recommends_nothing() -> None:
    """A little faster is no reason: the adapters' order decides, and the table says so."""
    choice = choose([Quick(), VllmBackend()], partial(ask, speed=1.05), solve)
    chosen, other = choice.engines
    assert (chosen.name, other.name) == ("vllm", "quick")
    assert "as good as the best within the error" in chosen.reason
    assert other.reason.startswith("+")
    assert "within the error of the predictions" in other.reason


def test_an_engine_that_is_better_beyond_doubt_is_chosen() -> None:
    """Several times faster is more than any error."""
    choice = choose([Quick(), VllmBackend()], partial(ask, speed=8.0), solve)
    assert [engine.name for engine in choice.engines] == ["quick", "vllm"]
    assert choice.engines[1].reason.startswith("-")
    assert "within" not in choice.engines[1].reason
    assert choice.solved[0].engine.name == "quick"


def test_an_engine_that_is_not_maintained_comes_last() -> None:
    """However fast it is said to be, and it says why."""
    choice = choose([Old(), VllmBackend()], partial(ask, speed=8.0), solve)
    assert [engine.name for engine in choice.engines] == ["vllm", "old"]
    assert "legacy: last release long ago" in choice.engines[1].reason


def test_engines_that_cannot_run_it_say_why() -> None:
    """For want of a platform, or of something the plan needs."""
    choice = choose([Unable(), Elsewhere(), VllmBackend()], ask, solve)
    reasons = {engine.name: engine.reason for engine in choice.engines if not engine.feasible}
    assert reasons["unable"] == "no Llamas"
    assert reasons["elsewhere"] == "does not run on cuda"


def test_figures_that_are_another_engines_are_called_so() -> None:
    """An engine without runs is planned like vLLM; nobody is told that it is as fast."""
    choice = choose([StandinBackend(), VllmBackend()], ask, solve)
    assert [engine.name for engine in choice.engines] == ["vllm", "standin"]
    assert choice.engines[1].reason == "there are no runs of it: these are figures of vllm"


def test_a_question_that_is_wrong_for_all_is_refused_once() -> None:
    """The first engine's words."""

    def wrong(engine: Backend) -> PlanInputs:
        return replace(ask(engine), max_model_len=10**9)

    with pytest.raises(InputError, match="--max-model-len 1000000000"):
        choose([Unable(), VllmBackend()], wrong, solve)


def test_nothing_feasible_is_told_by_the_first_that_understood() -> None:
    """Its splits are the answer's."""
    nowhere = partial(ask, gpus="1xT4")
    choice = choose([Elsewhere(), VllmBackend()], nowhere, solve)
    assert choice.solved[1].best is None
    assert [engine.feasible for engine in choice.engines] == [False, False]


def test_a_named_engine_that_cannot_run_the_plan_refuses_it() -> None:
    """With what would work."""
    with pytest.raises(InputError, match="unable cannot run this plan: no Llamas: plan another"):
        ask_one(Unable(), ask, solve)


def test_an_engine_whose_builds_do_not_run_there_warns() -> None:
    """V100 are planned, but published builds of vLLM have no code for them; named or not."""
    on_v100 = partial(ask, gpus="1xV100-SXM2-32GB")
    for choice in (ask_one(VllmBackend(), on_v100, solve), choose([VllmBackend()], on_v100, solve)):
        (line,) = choice.engines
        assert line.unbuilt == (
            "builds of vllm run on compute capability 7.5 or more, V100-SXM2-32GB has 7"
        )


def test_a_named_engine_that_is_not_maintained_warns() -> None:
    """One line; of others there is nothing to say."""
    (line,) = ask_one(Old(), ask, solve).engines
    assert "legacy" in line.reason
    assert ask_one(VllmBackend(), ask, solve).engines == ()
