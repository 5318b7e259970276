"""Every adapter that is installed keeps to the contract."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tpdeploy.backends.base import Backend, Command, Site
from tpdeploy.backends.conformance import BackendConformance
from tpdeploy.backends.meaning import example_plan
from tpdeploy.backends.registry import backend_names, load_backend
from tpdeploy.backends.vllm import VllmBackend
from tpdeploy.planner.plan import DeploymentPlan, Placement

Spoil = Callable[[Command, DeploymentPlan, Placement, Site], Command]


class TestBuiltIn(BackendConformance):
    """vLLM, TensorRT-LLM and DeepSpeed-MII, by their entry points."""

    @pytest.fixture(params=backend_names())
    def backend(self, request: pytest.FixtureRequest) -> Backend:
        return load_backend(request.param)


def test_there_are_three() -> None:
    """None is lost."""
    assert {"deepspeed-mii", "tensorrt-llm", "vllm"} <= set(backend_names())


def with_argument(command: Command, *words: str) -> Command:
    return replace(command, argv=(*command.argv, *words))


def with_variable(command: Command, name: str, value: str) -> Command:
    return replace(command, env={**command.env, name: value})


@pytest.mark.parametrize(
    ("test", "spoil"),
    [
        ("no_key_and_no_foreign_code", lambda c, *_: with_argument(c, "--api-key", "k")),
        ("no_key_and_no_foreign_code", lambda c, *_: with_variable(c, "VLLM_API_KEY", "k")),
        (
            "no_key_and_no_foreign_code",
            lambda c, *_: replace(c, files={"o.yaml": "trust_remote_code: true"}),
        ),
        (
            "a_second_replica_is_one_on_other_devices",
            lambda c, p, *_: with_argument(c, "--gpus", str(p.placement[0].devices)),
        ),
        (
            "devices_are_chosen_by_what_runs_it",
            lambda c, *_: with_variable(c, "CUDA_VISIBLE_DEVICES", "0"),
        ),
        (
            "what_is_known_late_is_a_word",
            lambda c, p, place, site: replace(c, files={"options.yaml": f"port: {site.port}"}),
        ),
        (
            "a_second_replica_is_one_on_other_devices",
            lambda c, p, place, site: with_variable(c, "REPLICA", str(place.replica)),
        ),
        (
            "it_needs_no_more_ports_than_it_asks_for",
            lambda c, p, place, site: with_argument(c, "--ports", str(site.spare_ports)),
        ),
        (
            "it_takes_no_other_engines_fraction_of_memory",
            lambda c, p, *_: with_argument(c, "--share", str(p.limits.memory_fraction)),
        ),
        ("it_listens_where_it_is_told", lambda c, *_: with_argument(c, "--bind", "0.0.0.0:1")),
        ("a_command_is_a_plain_list", lambda c, *_: replace(c, argv=("/bin/vllm", *c.argv[1:]))),
        ("files_are_its_own", lambda c, *_: replace(c, files={"a/b.yaml": ""})),
    ],
)
def test_a_broken_adapter_is_caught(test: str, spoil: Spoil) -> None:
    """Each of these tests fails for an adapter that breaks what it promises."""

    class Broken(VllmBackend):
        def render(self, plan: DeploymentPlan, place: Placement, site: Site) -> Command:
            return spoil(super().render(plan, place, site), plan, place, site)

    backend = Broken()
    held = getattr(BackendConformance(), f"test_{test}")
    held(VllmBackend(), example_plan(VllmBackend()))
    with pytest.raises(AssertionError):
        held(backend, example_plan(backend))
