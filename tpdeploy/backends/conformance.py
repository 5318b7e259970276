"""What every adapter has to keep to, as a test class that its author inherits.

    from tpdeploy.backends.conformance import BackendConformance

    class TestMine(BackendConformance):
        @pytest.fixture
        def backend(self):
            return MyBackend()

Needs pytest, which tpdeploy itself does not.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, get_args

import pytest

from tpdeploy.backends.base import Backend, Capability, Platform, Site
from tpdeploy.backends.meaning import (
    CHANGES,
    OTHER_DEVICES,
    SITE,
    Change,
    changed,
    example_plan,
    moved,
    told,
)
from tpdeploy.backends.metrics import EngineMetrics, read_metrics
from tpdeploy.backends.registry import load_backend
from tpdeploy.backends.rules import engine_rules
from tpdeploy.errors import InputError
from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.profiles.machine.gpus_spec import parse_gpus
from tpdeploy.profiles.models.library import load_model
from tpdeploy.profiles.record import Dtype

HOSTILE_LINES = (
    "",
    "\x00\xff",
    "{}[]()*+?",
    "Error:",
    "Traceback (most recent call last):",
    "x" * 9999,
)
TWO_MACHINES = Change(
    "parallelism.pipeline",
    2,
    (
        ("placement.0.devices", [*range(4), *range(4)]),
        ("placement.0.nodes", [0] * 4 + [1] * 4),
    ),
)
SECRETS = ("api_key", "auth_token", "hf_token", "trust_remote_code")


class BackendConformance:
    """Inherit, and give a fixture `backend`; the attributes fit most engines."""

    model: ClassVar[str] = "llama-70b"  # one that the engine runs
    gpus: ClassVar[str] = "8xH100"  # where it does

    @pytest.fixture
    def backend(self) -> Backend:
        """The adapter under test."""
        pytest.fail("give a fixture called backend")

    @pytest.fixture
    def plan(self, backend: Backend) -> DeploymentPlan:
        """A plan that the engine runs."""
        return example_plan(backend, self.model, self.gpus)

    @pytest.fixture
    def can(self, backend: Backend, plan: DeploymentPlan) -> Capability:
        """What the engine says it can on the platform of the plan."""
        found = backend.capability(plan.cluster.platform)
        assert found is not None
        return found

    def test_its_entry_point_bears_its_name(self, backend: Backend) -> None:
        """It is found by the name it has."""
        assert type(load_backend(backend.name)) is type(backend)

    @pytest.mark.parametrize("platform", get_args(Platform))
    def test_a_platform_it_does_not_run_on_is_refused(
        self, backend: Backend, platform: Platform
    ) -> None:
        """No capability, so nothing to install; the refusal is an InputError."""
        if backend.capability(platform) is None:
            with pytest.raises(InputError):
                backend.environment(platform)
            return
        rule = backend.memory_rule(platform)
        assert 0 < rule.default_fraction <= 1

    def test_every_width_is_legal_or_refused_with_a_reason(self, backend: Backend) -> None:
        """From 1 to the number asked for; 1 is always legal."""
        widths = backend.widths(load_model(self.model), 8)
        assert sorted([*widths.legal, *widths.refused]) == list(range(1, 9))
        assert 1 in widths.legal
        assert all(widths.refused.values())

    def test_the_planner_gets_its_rules(self, backend: Backend) -> None:
        """Under its own name."""
        rules = engine_rules(backend, load_model(self.model), parse_gpus(self.gpus))
        assert rules.name == backend.name

    def test_its_own_plan_has_no_problems(self, backend: Backend, plan: DeploymentPlan) -> None:
        """What was planned by its rules it runs."""
        assert backend.check(plan) == []

    @pytest.mark.parametrize(
        ("field", "value", "attribute"),
        [
            ("model.dtype", Dtype.FP32, "dtypes"),
            ("model.dtype", Dtype.FP16, "dtypes"),
            ("model.kv_cache_dtype", Dtype.FP8, "kv_cache_dtypes"),
            ("model.kv_cache_dtype", Dtype.INT4, "kv_cache_dtypes"),
            ("model.quantization", "fp8", "quantizes"),
            ("model.quantization", "no-such-method", "quantizes"),
            ("model.stored_as", "no-such-method", "checkpoints"),
            ("model.architecture", "NoSuchModel", "architectures"),
        ],
    )
    def test_what_it_cannot_is_a_problem_with_a_remedy(
        self,
        backend: Backend,
        plan: DeploymentPlan,
        can: Capability,
        field: str,
        value: Any,
        attribute: str,
    ) -> None:
        """For each thing that its capability leaves out."""
        allowed = getattr(can, attribute)
        problems = backend.check(changed(plan, Change(field, value)))
        if allowed is not None and value not in allowed:
            assert problems
        assert all(problem.what and problem.remedy for problem in problems)

    @pytest.mark.parametrize(
        ("attribute", "change"),
        [
            (
                "pipeline",
                Change("parallelism.pipeline", 2, (("placement.0.devices", [*range(8)]),)),
            ),
            ("expert_parallel", Change("parallelism.expert", 4)),
            ("data_parallel", Change("parallelism.data", 4, (("parallelism.tensor", 1),))),
            ("eager", Change("limits.enforce_eager", True)),
            ("multi_node", TWO_MACHINES),
        ],
    )
    def test_what_it_cannot_run_is_a_problem(
        self,
        backend: Backend,
        plan: DeploymentPlan,
        can: Capability,
        attribute: str,
        change: Change,
    ) -> None:
        """And those that it can are none."""
        problems = backend.check(changed(plan, change))
        able = getattr(can, attribute) and (can.pipeline or attribute != "multi_node")
        assert bool(problems) == (not able)

    def test_an_old_gpu_is_a_problem(
        self, backend: Backend, plan: DeploymentPlan, can: Capability
    ) -> None:
        """Below the least compute capability, where there is one."""
        if can.least_compute_capability:
            old = Change("cluster.compute_capability", can.least_compute_capability - 0.5)
            assert backend.check(changed(plan, old))

    @pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.field)
    def test_every_field_reaches_the_engine(
        self, backend: Backend, plan: DeploymentPlan, change: Change
    ) -> None:
        """It moves a setting, or the engine says that it cannot have it."""
        assert moved(backend, change, plan) != "nothing"

    def test_a_command_is_a_plain_list(self, backend: Backend, plan: DeploymentPlan) -> None:
        """The program by its bare name, since its environment has the path; the same every time."""
        command = backend.render(plan, plan.placement[0], SITE)
        assert "/" not in command.argv[0]
        assert all(isinstance(word, str) for word in (*command.argv, *command.env.values()))
        assert command == backend.render(plan, plan.placement[0], SITE)

    def test_files_are_its_own(self, backend: Backend, plan: DeploymentPlan) -> None:
        """Plain names in the replica's folder, which the command mentions, or modules of it."""
        command = backend.render(plan, plan.placement[0], SITE)
        for name in command.files:
            assert Path(name).name == name
            module = name.endswith(".py") and command.env.get("PYTHONPATH") == str(SITE.folder)
            mentioned = Path(name).stem if module else str(SITE.folder / name)
            assert any(mentioned in word for word in command.argv)

    def test_it_listens_where_it_is_told(self, backend: Backend, plan: DeploymentPlan) -> None:
        """Another host and port are another command."""
        here = told(backend, plan)
        for site in (replace(SITE, port="8002"), replace(SITE, host="10.1.2.3")):
            assert told(backend, plan, site) != here
        assert "0.0.0.0" not in "".join(here.values())  # noqa: S104 - that it is not there

    def test_sites_differ_in_place_alone(self, backend: Backend, plan: DeploymentPlan) -> None:
        """Ports and folder; everything else is one plan."""
        other = replace(
            SITE, port="8002", folder=Path("replica-1"), spare_ports=("9011", "9012", "9013")
        )
        here, there = told(backend, plan), told(backend, plan, other)
        places = ("8002", "replica-1", "901")
        for name, value in there.items():
            assert value == here[name] or any(place in value for place in places), name

    def test_a_second_replica_is_one_on_other_devices(
        self, backend: Backend, plan: DeploymentPlan
    ) -> None:
        """It runs on its own devices, and its number changes nothing."""
        places = [{"replica": n, "devices": [*range(4 * n, 4 * n + 4)]} for n in range(2)]
        two = changed(plan, Change("parallelism.replicas", 2, (("placement", places),)))
        second = told(backend, two, replica=1)
        assert second == told(backend, changed(plan, OTHER_DEVICES))

    def test_what_is_known_late_is_a_word(self, backend: Backend, plan: DeploymentPlan) -> None:
        """It stands in arguments and variables as it was given, and in no file."""
        late = Site("$HOST", "$PORT", SITE.folder, ("$A", "$B", "$C"), address="$ADDRESS")
        command = backend.render(plan, plan.placement[0], late)
        words = {*command.argv, *command.env.values()}
        assert {"$HOST", "$PORT"} <= words
        assert not any("$HOST" in text or "$PORT" in text for text in command.files.values())

    def test_devices_are_chosen_by_what_runs_it(
        self, backend: Backend, plan: DeploymentPlan
    ) -> None:
        """By the variables that the adapter names, which it does not set itself."""
        for place in plan.placement:
            env = backend.render(plan, place, SITE).env
            assert not set(backend.device_variables.values()) & set(env)

    def test_machines_of_one_replica_meet(
        self, backend: Backend, plan: DeploymentPlan, can: Capability
    ) -> None:
        """Each is told its number and where the first one is, or MPI joins them."""
        if not can.multi_node or backend.joined_by_mpi:
            return
        wide = changed(plan, TWO_MACHINES)
        site = replace(SITE, head="$HEAD", rank="$RANK")
        place = wide.placement[0]
        leader, worker = backend.render(wide, place, site), backend.render_worker(wide, place, site)
        for part in (leader, worker):
            assert {"$HEAD", "$RANK"} <= set(part.argv)

    def test_it_needs_no_more_ports_than_it_asks_for(
        self, backend: Backend, plan: DeploymentPlan
    ) -> None:
        """It is given `spare_ports` of them."""
        site = replace(SITE, spare_ports=SITE.spare_ports[: backend.spare_ports])
        assert told(backend, plan, site) == told(backend, plan)

    def test_it_takes_no_other_engines_fraction_of_memory(
        self, backend: Backend, plan: DeploymentPlan
    ) -> None:
        """Of a plan for another engine the KV cache counts; its fraction means another thing."""
        half, most = (
            changed(plan, Change("backend", "another", (("limits.memory_fraction", fraction),)))
            for fraction in (0.5, 0.9)
        )
        assert told(backend, half) == told(backend, most)

    def test_no_key_and_no_foreign_code(self, backend: Backend, plan: DeploymentPlan) -> None:
        """In no argument, variable or file: keys are the launcher's, and no code is trusted."""
        on = [name for name, value in told(backend, plan).items() if value not in {"False", "0"}]
        names = " ".join(on).lower().replace("-", "_")
        assert not [secret for secret in SECRETS if secret in names]

    def test_a_local_folder_asks_no_hub(self, backend: Backend, plan: DeploymentPlan) -> None:
        """It is served from where it lies."""
        local = changed(plan, Change("model.path", "/models/mine"))
        settings = told(backend, local)
        assert settings["HF_HUB_OFFLINE="] == "1"
        assert "/models/mine" in settings.values()

    def test_any_log_can_be_read(self, backend: Backend) -> None:
        """Whatever an engine writes; an empty log tells nothing."""
        for line in HOSTILE_LINES:
            assert backend.progress(line) is None or isinstance(backend.progress(line), str)
        assert backend.failure(list(HOSTILE_LINES)) is None or backend.failure(list(HOSTILE_LINES))
        assert backend.failure([]) is None

    def test_its_metrics_have_names_of_ours(self, backend: Backend) -> None:
        """Each is a field of EngineMetrics; a text without them is all None."""
        if backend.metrics:
            assert set(backend.metrics.histograms) <= set(EngineMetrics.model_fields)
            assert read_metrics("", backend.metrics) == EngineMetrics()

    def test_it_says_what_of_it_has_been_run(self, backend: Backend) -> None:
        """A user decides by it."""
        assert backend.verified
