"""What is printed for Grafana and Prometheus is what they take."""

import json
from typing import Any

import promql_parser
import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from prometheus_client.parser import text_string_to_metric_families

from tests.harness.plans import small_plan
from tpdeploy.backends.metrics import MetricNames
from tpdeploy.backends.tensorrt_llm import METRICS as TENSORRT_LLM
from tpdeploy.backends.vllm import METRICS as VLLM
from tpdeploy.cli.views.dashboard import dashboard
from tpdeploy.launcher.exposition import exposition
from tpdeploy.launcher.runtimes.member import Member
from tpdeploy.launcher.state import Deployment
from tpdeploy.planner.workload import Workload

SGLANG = MetricNames("/metrics", histograms={"ttft": "sglang:time_to_first_token_seconds"})
ENGINES = [("vllm", VLLM), ("tensorrt-llm", TENSORRT_LLM), ("sglang", SGLANG)]
DEPLOYMENT = Deployment(
    name="d",
    model="m",
    backend="vllm",
    url="http://x",
    members=(
        Member(label="replica-0", port=1, phase="ready", restarts=3),
        Member(label="front", port=2),
    ),
)
OWN = exposition(DEPLOYMENT, small_plan(Workload(concurrency=2)))


def queries(engine: str, names: MetricNames) -> list[str]:
    """The PromQL of every panel, with the variables that Grafana fills in."""
    found = [t["expr"] for p in dashboard(engine, names)["panels"] for t in p["targets"]]
    return [q.replace("$__rate_interval", "1m").replace("$deployment", "d") for q in found]


@pytest.mark.parametrize(("engine", "names"), ENGINES)
def test_grafana_reads_all_of_the_dashboard(engine: str, names: MetricNames) -> None:
    """Every field is one that Grafana's own schema knows: it comes back as it was."""
    ours = dashboard(engine, names)
    theirs = json.loads(JSONEncoder().encode(Dashboard.from_json(json.loads(json.dumps(ours)))))
    assert _known(ours, theirs) == ours
    places = [(p["gridPos"]["x"], p["gridPos"]["y"]) for p in ours["panels"]]
    assert len(set(places)) == len(places)


def _known(ours: Any, theirs: Any) -> Any:
    """What of `ours` is in `theirs`, which has defaults besides."""
    if isinstance(ours, dict):
        return {key: _known(value, theirs[key]) for key, value in ours.items() if key in theirs}
    if isinstance(ours, list):
        return [_known(a, b) for a, b in zip(ours, theirs, strict=True)]
    return theirs


@pytest.mark.parametrize(("engine", "names"), ENGINES)
def test_prometheus_can_parse_every_query(engine: str, names: MetricNames) -> None:
    """By its own grammar; also those of an engine that tells little."""
    asked = queries(engine, names)
    assert len(asked) > 5
    for query in asked:
        promql_parser.parse(query)


def test_queries_ask_for_what_the_deployment_tells() -> None:
    """Every name of ours is one that the figures have."""
    told = {s.name for family in text_string_to_metric_families(OWN) for s in family.samples}
    asked = {
        word.partition("{")[0].rpartition("(")[2].rpartition(" ")[2]
        for query in queries("vllm", VLLM)
        for word in query.split(" / ")
        if "tpdeploy_" in word
    }
    assert asked == told


def test_the_figures_are_those_of_state_and_plan() -> None:
    """In seconds, as Prometheus has it."""
    found = {
        (s.name, s.labels.get("member")): s.value
        for family in text_string_to_metric_families(OWN)
        for s in family.samples
    }
    plan = small_plan(Workload(concurrency=2))
    assert found["tpdeploy_member_ready", "replica-0"] == 1
    assert found["tpdeploy_member_ready", "front"] == 0
    assert found["tpdeploy_member_restarts_total", "replica-0"] == 3
    planned = plan.prediction.tpot_distribution.mean
    assert found["tpdeploy_planned_tpot_seconds", None] == pytest.approx(planned / 1000)
