"""The simulated scheduler against vLLM's own on a trace: the same queue at every step.

The engine runs in one process, step by step, and tells what each step took. Requests come before
the same steps in both, so that a busy machine changes no figure: the simulation takes as long for
a step as the engine did.
"""

import json
import os
import random
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from tests.e2e.tiny import CONFIG
from tpdeploy.launcher.small_model import engine_python
from tpdeploy.planner.performance.step import Step
from tpdeploy.planner.performance.step_model import StepModel
from tpdeploy.planner.serving.lanes import Request
from tpdeploy.planner.serving.percentiles import percentile
from tpdeploy.planner.serving.scheduler import Engine, Scheduler
from tpdeploy.planner.workload import Workload

pytestmark = pytest.mark.engine

# Room for four or five of the requests; prompts are read in chunks.
BLOCKS, BLOCK_TOKENS, SEQUENCES, BATCHED = 32, 32, 16, 128
REQUESTS, WITHIN_STEPS = 30, 60
SMALLER = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "vocab_size": 1024}
HEADS = {"num_attention_heads": 2, "num_key_value_heads": 1}
ALIKE = 0.02  # of the queue and the percentiles; chunks take their blocks one by one in vLLM

Trace = list[tuple[int, int, int]]  # of each request: before which step, prompt, answer


@dataclass(frozen=True)
class Told:
    """What one scheduler did."""

    queue: list[tuple[int, int, int]]  # after each step: running, waiting, preemptions so far
    ttft_s: list[float]
    tpot_s: list[float]


def trace() -> Trace:
    """Ragged requests that come much faster than they are served."""
    draw = random.Random(3)  # noqa: S311 - reproducible load, not cryptography
    return sorted(
        (draw.randint(0, WITHIN_STEPS), draw.randint(20, 200), draw.randint(5, 100))
        for _ in range(REQUESTS)
    )


def by_vllm(folder: Path, requests: Trace) -> tuple[Told, list[float]]:
    """What the engine did, and the seconds of its steps."""
    (folder / "config.json").write_text(json.dumps({**CONFIG, **SMALLER, **HEADS}))
    (folder / "trace.json").write_text(json.dumps(requests))
    script = Path(__file__).with_name("step_vllm.py")
    # One of the engine's blocks is never used.
    limits = map(str, (BLOCKS + 1, BLOCK_TOKENS, SEQUENCES, BATCHED))
    command = [str(engine_python()), str(script), str(folder), *limits]
    settings = {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
    }
    ran = subprocess.run(
        [*command, str(folder / "trace.json")],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    told = json.loads(ran.stdout.strip().splitlines()[-1])
    seconds = [step[0] for step in told["steps"]]
    queue = [(int(r), int(w), int(p)) for _, r, w, p, _ in told["steps"]]
    return timed(requests, told["spans"], queue, seconds), seconds


def by_simulation(requests: Trace, seconds: list[float]) -> Told:
    """What the simulation does in steps of a second each, told in those of the engine."""
    engine = Engine(
        cast(StepModel, OneSecond()),
        SEQUENCES,
        BATCHED,
        BLOCKS * BLOCK_TOKENS,
        block_tokens=BLOCK_TOKENS,
        reuses_blocks=True,
    )
    scheduler, queue = Scheduler(engine, Workload(concurrency=1)), list[tuple[int, int, int]]()
    ended: list[Request] = []
    numbers: dict[int, int] = {}
    while len(ended) < len(requests):
        for number, (step, prompt, answer) in enumerate(requests):
            if step == len(queue):
                scheduler.arrive(step + number / 1000, prompt, answer)
        if scheduler.idle:
            scheduler.skip_to(scheduler.now + 1)
        else:
            ended += scheduler.advance(scheduler.now + 1)
        queue.append((scheduler.running, scheduler.waiting, scheduler.preemptions))
    numbers = {round(1000 * (r.arrival % 1)): n for n, r in enumerate(ended)}
    spans = [
        [ended[numbers[n]].first_token - 1, ended[numbers[n]].end - 1] for n in range(len(requests))
    ]
    longer = seconds + [seconds[-1]] * len(queue)
    return timed(requests, spans, queue, longer)


class OneSecond:
    """Every step takes a second."""

    def seconds(self, _: Step) -> float:
        return 1.0


def timed(requests: Trace, spans: Any, queue: Any, seconds: list[float]) -> Told:
    """Latencies from the steps in which the first and the last token came."""

    def since(first: int, last: float) -> float:
        return sum(seconds[first : int(last) + 1])

    pairs = list(zip(requests, spans, strict=True))
    return Told(
        queue,
        [since(step, first) for (step, _, _), (first, _) in pairs],
        [since(int(first) + 1, last) / (r[2] - 1) for r, (first, last) in pairs],
    )


def test_the_queue_is_that_of_vllm_at_every_step(tmp_path: Path) -> None:
    """Running, waiting and preempted requests over time, and all percentiles of TTFT and TPOT."""
    requests = trace()
    real, seconds = by_vllm(tmp_path, requests)
    simulated = by_simulation(requests, seconds)
    assert real.queue[-1][2] >= 5  # else nothing is compared
    assert max(waiting for _, waiting, _ in real.queue) >= 5
    assert simulated.queue[-1][2] == pytest.approx(real.queue[-1][2], abs=1)
    assert len(simulated.queue) == pytest.approx(len(real.queue), rel=ALIKE)
    differ = sum(a != b for a, b in zip(simulated.queue, real.queue, strict=False))
    assert differ <= ALIKE * len(real.queue)
    for told, measured in ((simulated.ttft_s, real.ttft_s), (simulated.tpot_s, real.tpot_s)):
        for share in (0.1, 0.5, 0.9, 0.99):
            assert percentile(sorted(told), share) == pytest.approx(
                percentile(sorted(measured), share), rel=ALIKE
            )
