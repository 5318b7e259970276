"""Files that tpdeploy wrote and somebody edited: plans, measurements, lessons, deployments."""

import json
import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from hypothesis import given

from tests.fuzz.mutants import files, mutants
from tests.fuzz.promise import fuzzed, kept, ran
from tests.harness.plans import small_plan
from tests.harness.sweeps import measured as run_of
from tests.planner.inputs import ask
from tests.profiles.test_measured import machine
from tpdeploy.cli.planfile import read_plan
from tpdeploy.harness.measure.history import history
from tpdeploy.launcher import figures
from tpdeploy.launcher.runtimes.member import Member
from tpdeploy.launcher.runtimes.processes import leader_of
from tpdeploy.launcher.state import Deployment, deployments
from tpdeploy.learning import calibrations as measured
from tpdeploy.learning import corrections as learned
from tpdeploy.learning.applied import with_engine_here
from tpdeploy.planner.inputs import PlanInputs
from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.performance.collectives import all_reduce, point_to_point
from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.planner.search.evaluation import Candidate, evaluate
from tpdeploy.planner.search.search import plan as make_plan
from tpdeploy.planner.search.search import search
from tpdeploy.planner.workload import Workload
from tpdeploy.profiles.devices import networks
from tpdeploy.profiles.devices.catalog import with_engine
from tpdeploy.profiles.devices.cluster import Cluster
from tpdeploy.profiles.machine.gpus_spec import parse_gpus
from tpdeploy.records import Dumper, dump_record

pytestmark = pytest.mark.slow

ASKED = ask("llama-8b", "2xH100", workload=Workload(output_tokens=64, concurrency=4))
PLAN = make_plan(ASKED, search(ASKED))
CLUSTER = with_engine(parse_gpus("2xCPU"), "vllm")
MACHINE = json.loads(machine(CLUSTER).model_dump_json())
NETWORK = {
    "network": {
        **{"name": "lab", "description": "two machines", "adapters": "gpu"},
        "link": {
            **{"hop_latency_s": 1e-5, "ring_bytes_per_s": 1e10},
            **{"source": "a test", "date": "2026-01-02"},
        },
        "curves": [
            {
                **{"operation": "all-reduce", "algorithm": "nccl", "group_size": 16, "nodes": 2},
                **{"gpu": "H100-SXM-80GB", "points": [[1024, 1e-5], [2**20, 1e-4]]},
                **{"source": "a test", "date": "2026-01-02"},
            }
        ],
    },
    **{"runtime": "ssh", "device": "H100-SXM-80GB", "hardware": ["H100"], "hosts": ["a", "b"]},
    **{"devices_each": 8, "versions": {"torch": "2"}, "measured_at": "2026-01-02T00:00:00Z"},
    "samples": [],
}
LESSON = {
    **{"version": 1, "engine": "vllm", "device": "CPU", "model_class": "dense", "base": []},
    "shares": list(measured.shares_of(CLUSTER)),
    "factors": {"memory": 1.1, "compute": 0.9, "overhead": 1.2, "communication": 1.0},
    **{"models": ["x"], "runs": 2, "last": "2026-01-02T00:00:00Z"},
    **{"ttft_error_before": 0.3, "tpot_error_before": 0.3, "ttft_error": 0.1, "tpot_error": 0.1},
}
DEPLOYMENT = Deployment(
    name="default",
    model="x",
    backend="vllm",
    url="http://127.0.0.1:9",
    phase="ready",
    started_at=datetime(2026, 1, 2, tzinfo=UTC),
    supervisor=leader_of(os.getpid()),
    members=(Member(label="replica-0", port=9, devices=(0,), health_path="/h"),),
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def home(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of which the examples of one test write one file, again and again."""
    monkeypatch.setenv("TPDEPLOY_HOME", str(place))
    return place


def write(path: Path, document: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(document, bytes):
        path.write_bytes(document)
    elif path.suffix == ".json":
        path.write_text(json.dumps(document))
    else:
        text = yaml.dump(document, Dumper=Dumper, sort_keys=False)
        path.write_bytes(text.encode(errors="surrogatepass"))
    return path


def as_document(plan: DeploymentPlan) -> object:
    return json.loads(plan.model_dump_json(exclude_none=True))


def predicted(inputs: PlanInputs) -> object:
    answer = evaluate(inputs, Parallelism(tensor=2))
    return answer.prediction if isinstance(answer, Candidate) else answer.reason


@fuzzed(120)
@given(mutants(as_document(PLAN)))
def test_a_plan(place: Path, plan: object) -> None:
    """A plan is whole and possible, or refused."""
    kept(lambda: read_plan(write(place / "fuzzed.yaml", plan)))


@fuzzed(25)
@given(mutants(as_document(PLAN)))
def test_launching_a_plan(place: Path, plan: object) -> None:
    """What is accepted can be turned into commands, or the reason why not is one line."""
    ran("launch", str(write(place / "fuzzed.yaml", plan)), "--dry-run", "--json", home=place / "h")


@fuzzed(60)
@given(files(dump_record(small_plan(Workload(concurrency=2)))))
def test_a_file_that_is_no_plan(place: Path, content: bytes) -> None:
    """Broken encodings, cut files, other files."""
    kept(lambda: read_plan(write(place / "fuzzed.yaml", content)))


def planned_here(path: Path) -> None:
    """Plan for this machine with what `path` says of it, and remove that."""
    try:
        here = kept(lambda: with_engine_here(CLUSTER, "vllm", ASKED.shape))
        if here is not None:
            kept(lambda: predicted(ask_on(here)))
    finally:
        path.unlink()


@fuzzed(40)
@given(mutants(NETWORK))
@pytest.mark.usefixtures("home")
def test_a_measured_network(document: object) -> None:
    """Plans over it are finite, or the file is refused with what to do."""
    path = write(networks.folder() / "lab.json", document)
    try:
        over = kept(lambda: parse_gpus("2x8xH100", network="lab"))
        if over is not None:
            kept(lambda: all_reduce(over, 16).seconds(2**20))
            kept(lambda: point_to_point(over, 16).seconds(2**20))
    finally:
        path.unlink()


@fuzzed(80)
@given(mutants(MACHINE))
@pytest.mark.usefixtures("home")
def test_a_measured_machine(document: object) -> None:
    """Plans for it are finite, or the file is refused with what to do."""
    path = write(measured.path_of("vllm", "CPU", measured.shares_of(CLUSTER)), document)
    planned_here(path)


@fuzzed(80)
@given(mutants(LESSON))
@pytest.mark.usefixtures("home")
def test_a_lesson(document: object) -> None:
    """So are those corrected by what was learned."""
    shares = measured.shares_of(CLUSTER)
    path = write(learned.path_of("vllm", "CPU", shares, "dense"), document)
    planned_here(path)


def ask_on(cluster: Cluster) -> PlanInputs:
    return replace(ask("smollm2-135m", "2xCPU", workload=ASKED.workload), cluster=cluster)


@fuzzed(60)
@given(mutants(json.loads(DEPLOYMENT.model_dump_json())))
def test_a_deployment(home: Path, document: object) -> None:
    """Its state is shown, or the file is refused."""
    write(home / "deployments" / "default" / "state.yaml", document)
    kept(deployments)
    ran("status", home=home)


LOOK = {
    "at": datetime.now(UTC).isoformat(),  # what is older than an hour is not looked at
    "replicas": {
        "replica-0": {
            **{"ttft": {"count": 9, "sum": 2.5}, "tpot": {"count": 9, "sum": 0.5}},
            **{"running": 1, "waiting": 2, "kv_use": 0.5, "generated_tokens": 900},
        }
    },
}


@fuzzed(60)
@given(mutants(LOOK), mutants(LOOK))
def test_what_engines_told(home: Path, first: object, second: object) -> None:
    """What was kept of it is used, or left out: a deployment is shown all the same."""
    folder = home / "deployments" / "default"
    write(folder / "state.yaml", json.loads(DEPLOYMENT.model_dump_json()))
    write(folder / "plan.yaml", as_document(PLAN))
    lines = [json.dumps(each) for each in (LOOK, first, LOOK, second)]
    (folder / "figures.jsonl").write_text("\n".join(lines))
    kept(lambda: figures.kept(DEPLOYMENT, 1e9))
    ran("status", home=home)
    ran("status", "--json", home=home)


@fuzzed(60)
@given(mutants(json.loads(run_of(2, 0.5, 50).model_dump_json())))
def test_a_validation_that_was_kept(home: Path, document: object) -> None:
    """The history holds it, or leaves it out."""
    write(home / "validations" / "20260102T000000.json", document)
    kept(history)
    ran("history", home=home)
