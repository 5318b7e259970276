"""What engines tell is kept for a while, compared with the plan, and never holds up who asks."""

import json
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.harness.plans import small_plan
from tpdeploy.backends.metrics import EngineMetrics, Summed
from tpdeploy.backends.vllm import VllmBackend
from tpdeploy.launcher import figures
from tpdeploy.launcher.drift import drifts
from tpdeploy.launcher.figures import Look, Sampler, load_between
from tpdeploy.launcher.runtimes.member import Member
from tpdeploy.launcher.state import Deployment
from tpdeploy.planner.workload import Workload

NOW = datetime.now(UTC)
PLAN = small_plan(Workload(concurrency=2))
TPOT_S = PLAN.prediction.tpot_distribution.mean / 1000


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TPDEPLOY_HOME", str(tmp_path))
    folder = tmp_path / "deployments" / "d"
    folder.mkdir(parents=True)
    return folder


def deployed(*ports: int) -> Deployment:
    members = tuple(Member(label=f"replica-{n}", port=port) for n, port in enumerate(ports))
    began = NOW - timedelta(hours=2)
    return Deployment(
        name="d", model="m", backend="vllm", url="http://x", started_at=began, members=members
    )


def told(minutes_ago: float, requests: float, tpot_s: float, running: float = 1) -> Look:
    """One replica that has ended so many requests of that TPOT since it was started."""
    seen = EngineMetrics(tpot=Summed(count=requests, sum=requests * tpot_s), running=running)
    return Look(at=NOW - timedelta(minutes=minutes_ago), replicas={"replica-0": seen})


def test_two_looks_make_rates_and_means() -> None:
    """Of all replicas that both looks know; requests are those of the second."""
    before = Look(
        at=NOW - timedelta(seconds=10),
        replicas={"a": EngineMetrics(generated_tokens=50, tpot=Summed(count=1, sum=0.1))},
    )
    tpot = Summed(count=4, sum=0.7)
    after = Look(
        at=NOW,
        replicas={
            "a": EngineMetrics(generated_tokens=150, tpot=tpot, running=3, kv_use=0.2),
            "b": EngineMetrics(generated_tokens=9, tpot=tpot, running=1, kv_use=0.4),
        },
    )
    load = load_between(before, after, ["a", "b", "c"])
    assert load.output_tokens_per_s == pytest.approx(10)
    assert load.tpot_ms == pytest.approx(200)
    assert (load.running, load.waiting) == (4, None)
    assert load.kv_use == pytest.approx(0.3)
    assert load.ttft_ms is None
    alone = load_between(None, after, ["a"])
    assert (alone.running, alone.output_tokens_per_s) == (3, None)


def test_an_engine_that_was_started_anew_counts_from_nothing() -> None:
    """Its counters have become smaller: what it tells now is what it did."""
    looks = [told(2, 100, 0.1), told(1, 110, 0.1), told(0, 4, 0.5)]
    seen = figures.observed(looks, ["replica-0"], "tpot")
    assert seen is not None
    assert seen.count == 14
    assert seen.sum == pytest.approx(10 * 0.1 + 4 * 0.5)


def slow_for(minutes: int, factor: float, running: float = 1) -> list[Look]:
    """An hour of looks, one a minute with ten requests: as planned, then slower by `factor`."""
    total, count, found = 0.0, 0.0, []
    for ago in range(60, -1, -1):
        count += 10
        total += 10 * TPOT_S * (factor if ago < minutes else 1.0)
        tpot = Summed(count=count, sum=total)
        at = NOW - timedelta(minutes=ago)
        metrics = EngineMetrics(tpot=tpot, running=running)
        found.append(Look(at=at, replicas={"replica-0": metrics}))
    return found


def test_drift_tells_how_much_and_for_how_long() -> None:
    """Above the range that the plan allows itself, in steps of five minutes."""
    assert drifts(slow_for(10, 3.0), PLAN) == ("TPOT 200% above plan for 10 minutes",)
    assert drifts(slow_for(10, 3.0, running=6), PLAN) == (
        "TPOT 200% above plan for 10 minutes (6 requests in flight; the plan is for 2)",
    )


def test_as_planned_or_better_or_for_a_moment_is_no_drift() -> None:
    """Nor is what is over, or what nobody has used."""
    assert drifts(slow_for(60, 1.0), PLAN) == ()
    assert drifts(slow_for(60, 0.5), PLAN) == ()
    assert drifts(slow_for(1, 3.0), PLAN) == ()
    assert drifts(slow_for(60, 3.0)[:4], PLAN) == ()
    assert drifts([told(ago, 1000, 9.0) for ago in range(60, -1, -1)], PLAN) == ()
    assert drifts([], PLAN) == ()


def test_the_record_is_bounded_and_cut_lines_are_left_out(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The latest are kept; a line that a full disk has cut is not."""
    monkeypatch.setattr(figures, "MOST_BYTES", 4000)
    for n in range(60):
        figures._keep(home / "figures.jsonl", told(1 - n / 60, n, 0.1))
    assert (home / "figures.jsonl").stat().st_size <= 4000
    with (home / "figures.jsonl").open("a") as file:
        file.write('{"at": "2026\n')
    figures._keep(home / "figures.jsonl", told(0, 60, 0.1))
    looks = figures.kept(deployed(), 3600)
    counts = [look.replicas["replica-0"].tpot.count for look in looks]  # type: ignore[union-attr]
    assert counts == list(range(61 - len(counts), 61))
    assert 5 < len(counts) < 60


def test_looks_of_an_earlier_launch_do_not_count(home: Path) -> None:
    """The name is the same, the engines are not."""
    for look in (told(300, 1, 0.1), told(90, 1, 0.1), told(0, 1, 0.1)):
        figures._keep(home / "figures.jsonl", look)
    assert len(figures.kept(deployed(), 24 * 3600)) == 2
    assert len(figures.kept(deployed(), 3600)) == 1


class Slow(BaseHTTPRequestHandler):
    """One byte of an answer each second, for ever."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        for _ in range(20):
            try:
                self.wfile.write(b"#")
            except OSError:
                return
            time.sleep(1)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.mark.usefixtures("home")
def test_an_engine_that_never_ends_its_answer_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is left out; who has only a Sampler to call does not even notice."""
    monkeypatch.setattr(figures, "TIMEOUT_S", 0.7)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    deployment = deployed(server.server_port, 1)
    began = time.monotonic()
    assert figures.look(deployment, VllmBackend()).replicas == {}
    assert time.monotonic() - began < 15
    monkeypatch.setattr(figures, "TIMEOUT_S", 3.0)
    sampler = Sampler(VllmBackend())
    sampler.tick(deployment)
    sampler.tick(deployment)
    assert sampler.looking is not None
    assert sampler.looking.is_alive()
    sampler.looking.join()
    server.shutdown()
    (line,) = figures.path_of("d").read_text().splitlines()
    assert json.loads(line)["replicas"] == {}


def test_a_sample_raises_nothing(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A folder that cannot be written is logged."""
    (home / "figures.jsonl").mkdir()
    figures.sample(deployed(), VllmBackend())
    assert "not kept" in caplog.text
