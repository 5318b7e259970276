"""The planner learns an engine's limits from its adapter."""

from tests.launcher.standin_backend import StandinBackend
from tpdeploy.backends.rules import engine_rules
from tpdeploy.backends.vllm import VllmBackend
from tpdeploy.profiles.machine.gpus_spec import parse_gpus
from tpdeploy.profiles.models.library import load_model


def test_vllms_rules_are_those_of_its_adapter() -> None:
    """A fraction of the total, refused widths with their reasons, and what it can do on GPUs."""
    rules = engine_rules(VllmBackend(), load_model("smollm2-135m"), parse_gpus("4xH100"))
    assert (rules.name, rules.memory_fraction, rules.fraction_of) == ("vllm", 0.92, "total")
    assert "9 attention heads" in rules.refused_widths[2]
    assert rules.pipeline
    assert rules.expert_parallel
    assert rules.multi_node


def test_an_engine_that_says_nothing_can_do_nothing_more() -> None:
    """An adapter that leaves out its features is planned with tensor parallelism alone."""
    rules = engine_rules(StandinBackend(), load_model("smollm2-135m"), parse_gpus("4xH100"))
    assert not (rules.pipeline or rules.expert_parallel or rules.multi_node)
