"""A backend of a third party, found by its entry point, that starts the stand-in engine."""

import re
from typing import ClassVar

from tpdeploy.backends.base import (
    Backend,
    Capability,
    Command,
    EnvironmentSpec,
    MemoryRule,
    Platform,
    Problem,
    Site,
    Widths,
)
from tpdeploy.backends.metrics import MetricNames
from tpdeploy.planner.plan import DeploymentPlan, Placement
from tpdeploy.profiles.models.shape import ModelShape
from tpdeploy.profiles.record import Dtype


class StandinBackend(Backend):
    """Runs everything, everywhere."""

    name: ClassVar[str] = "standin"
    api_key_variable: ClassVar[str | None] = "STANDIN_KEY"
    metrics: ClassVar[MetricNames | None] = MetricNames(
        path="/metrics",
        histograms={"ttft": "standin_ttft_seconds", "tpot": "standin_tpot_seconds"},
        values={
            "running": "standin_running",
            "waiting": "standin_waiting",
            "kv_use": "standin_kv_use",
            "generated_tokens": "standin_tokens_total",
        },
    )

    def capability(self, platform: Platform) -> Capability | None:
        return Capability(dtypes=frozenset({Dtype.BF16, Dtype.FP16}))

    def environment(self, platform: Platform) -> EnvironmentSpec:
        return EnvironmentSpec(name="standin", version="1", requirements=())

    def memory_rule(self, platform: Platform) -> MemoryRule:
        return MemoryRule(0.9, "total")

    def widths(self, model: ModelShape, up_to: int) -> Widths:
        return Widths(tuple(range(1, up_to + 1)), {})

    def check(self, plan: DeploymentPlan) -> list[Problem]:
        return [Problem("no FP32", "use bf16")] if plan.model.dtype == "fp32" else []

    def render(self, plan: DeploymentPlan, place: Placement, site: Site) -> Command:
        argv = ("standin-engine", "--host", site.host, "--port", site.port)
        return Command(argv, {"STANDIN_MODEL": plan.model.id})

    def progress(self, line: str) -> str | None:
        match = re.match("STAGE (.*)", line)
        return match[1] if match else None
