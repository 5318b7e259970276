"""The planner learns an engine's limits from its adapter."""

from tests.launcher.standin_backend import StandinBackend
from tpdeploy.backends.rules import engine_rules
from tpdeploy.backends.vllm import VllmBackend
from tpdeploy.planner.inputs import PlanInputs
from tpdeploy.planner.search.search import plan, search
from tpdeploy.planner.workload import Workload
from tpdeploy.profiles.machine.gpus_spec import parse_gpus
from tpdeploy.profiles.models.library import load_model


def test_vllms_rules_are_those_of_its_adapter() -> None:
    """A fraction of the total, refused widths with their reasons, and what it can do on GPUs."""
    rules = engine_rules(VllmBackend(), load_model("smollm2-135m"), parse_gpus("4xH100"))
    assert (rules.name, rules.memory_fraction, rules.fraction_of) == ("vllm", 0.92, "total")
    assert "9 attention heads" in rules.refused_widths[2]
    assert rules.pipeline
    assert rules.expert_parallel
    assert rules.several_machines


def test_an_engine_that_says_nothing_can_do_nothing_more() -> None:
    """An adapter that leaves out its features is planned with tensor parallelism alone."""
    rules = engine_rules(StandinBackend(), load_model("smollm2-135m"), parse_gpus("4xH100"))
    assert not (rules.pipeline or rules.expert_parallel or rules.several_machines)


def test_a_width_that_not_every_release_runs_says_so() -> None:
    """MiniMax-M2.5 at TP 8: 192 of an expert's 1,536 columns, in FP8 blocks of 128."""
    shape, cluster = load_model("minimax-m2.5"), parse_gpus("8xH200")
    rules = engine_rules(VllmBackend(), shape, cluster)
    assert set(rules.width_needs) & {1, 2, 4, 8} == {8}
    for expert_parallel in (False, True):
        inputs = PlanInputs(
            shape=shape,
            cluster=cluster,
            workload=Workload(concurrency=8),
            engine=rules,
            kv_cache_dtype=shape.dtype,
            tensor=8,
            expert_parallel=expert_parallel,
        )
        reasons = plan(inputs, search(inputs)).reasons
        told = [reason for reason in reasons if reason.startswith("TP 8 needs vLLM 0.32 or later")]
        assert len(told) == (not expert_parallel)
