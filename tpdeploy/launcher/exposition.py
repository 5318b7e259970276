"""A deployment's own figures as Prometheus text, in a file that the front serves.

The engines' own metrics are theirs; here is what only the supervisor and the plan know.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from tpdeploy.files import write_whole
from tpdeploy.launcher.front import OWN_METRICS_FILE
from tpdeploy.launcher.state import Deployment, folder_of
from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.records import read_record

READY, RESTARTS = "tpdeploy_member_ready", "tpdeploy_member_restarts"
PLANNED_TTFT, PLANNED_TPOT = "tpdeploy_planned_ttft_seconds", "tpdeploy_planned_tpot_seconds"
PLANNED_RATE = "tpdeploy_planned_output_tokens_per_second"
WRITTEN = "tpdeploy_written_timestamp_seconds"

Family = CounterMetricFamily | GaugeMetricFamily


def expose(deployment: Deployment) -> None:
    """Write the figures of `deployment` as they are.

    Raises:
        TpdeployError: the plan cannot be read, or the file not be written.
    """
    folder = folder_of(deployment.name)
    plan = read_record(folder / "plan.yaml", DeploymentPlan)
    write_whole(path_of(deployment.name), exposition(deployment, plan))


def path_of(name: str) -> Path:
    """The figures of the deployment called `name`."""
    return folder_of(name) / OWN_METRICS_FILE


def exposition(deployment: Deployment, plan: DeploymentPlan) -> str:
    """The figures as text; scraping adds which deployment it is."""
    registry = CollectorRegistry()
    registry.register(_Figures(deployment, plan))
    return generate_latest(registry).decode()


class _Figures(Collector):
    def __init__(self, deployment: Deployment, plan: DeploymentPlan) -> None:
        self.deployment = deployment
        self.plan = plan

    def collect(self) -> Iterator[Family]:
        """Those of the members, then what the plan predicts (means), then when this was."""
        ready = GaugeMetricFamily(READY, "1 while the member serves.", labels=["member"])
        restarts = CounterMetricFamily(RESTARTS, "How often it was restarted.", labels=["member"])
        for member in self.deployment.members:
            ready.add_metric([member.label], float(member.phase == "ready"))
            restarts.add_metric([member.label], member.restarts)
        yield from (ready, restarts)
        told = self.plan.prediction
        for name, words, value in (
            (PLANNED_TTFT, "Mean TTFT that the plan predicts.", told.ttft_distribution.mean / 1000),
            (PLANNED_TPOT, "Mean TPOT that the plan predicts.", told.tpot_distribution.mean / 1000),
            (PLANNED_RATE, "Rate that the plan predicts.", told.output_tokens_per_s.value),
            (WRITTEN, "When the supervisor wrote this.", datetime.now(UTC).timestamp()),
        ):
            yield GaugeMetricFamily(name, words, value)
