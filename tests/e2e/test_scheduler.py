"""The simulated scheduler against vLLM's own on a trace: the same queue after every step.

The engine runs in one process, step by step. Requests come before the same steps in both, and
latencies are counted in steps, so that a busy machine changes nothing.
"""

import json
import os
import random
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from tests.e2e.tiny import CONFIG
from tpdeploy.backends.registry import load_backend
from tpdeploy.launcher.environments import find_environment
from tpdeploy.planner.performance.step import Step
from tpdeploy.planner.performance.step_model import StepModel
from tpdeploy.planner.serving.lanes import Request
from tpdeploy.planner.serving.scheduler import Engine, Scheduler
from tpdeploy.planner.workload import Workload

pytestmark = pytest.mark.engine

# Room for four or five of the requests; long prompts are read in chunks.
BLOCKS, BLOCK_TOKENS, SEQUENCES, BATCHED = 32, 32, 16, 128
REQUESTS, WITHIN_STEPS = 30, 60
SMALLER = {
    **{"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "vocab_size": 1024},
    "max_position_embeddings": 512,
    **{"num_attention_heads": 2, "num_key_value_heads": 1},
}
SETTINGS = {
    **{"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_KVCACHE_SPACE": "1"},
    **{"VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1"},
    **{"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"},
}

Trace = list[tuple[int, int, int]]  # of each request: before which step, prompt, answer


@dataclass(frozen=True)
class Told:
    """What one scheduler did."""

    steps: list[tuple[int, int, int]]  # after each: running, waiting, preemptions so far
    kv_use: list[float]  # after each
    spans: list[tuple[int, int]]  # of each request: the steps of its first and its last token


def trace() -> Trace:
    """Ragged requests that come much faster than they are served."""
    draw = random.Random(3)  # noqa: S311 - reproducible load, not cryptography
    return sorted(
        (draw.randint(0, WITHIN_STEPS), draw.randint(20, 200), draw.randint(5, 100))
        for _ in range(REQUESTS)
    )


def by_vllm(folder: Path, requests: Trace) -> Told:
    """What the engine did."""
    (folder / "config.json").write_text(json.dumps({**CONFIG, **SMALLER}))
    (folder / "trace.json").write_text(json.dumps(requests))
    environment = find_environment(load_backend("vllm").environment("cpu"))
    assert environment is not None, "tpdeploy backends install vllm"
    # One of the engine's blocks is never used.
    limits = map(str, (BLOCKS + 1, BLOCK_TOKENS, SEQUENCES, BATCHED))
    script = str(Path(__file__).with_name("step_vllm.py"))
    command = [str(environment.program("python")), script, str(folder), *limits]
    ran = subprocess.run(
        [*command, str(folder / "trace.json")],
        env={**os.environ, **SETTINGS},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    told = json.loads(ran.stdout.strip().splitlines()[-1])
    return Told(
        [(running, waiting, preempted) for running, waiting, preempted, _ in told["steps"]],
        [use for *_, use in told["steps"]],
        [(first, last) for first, last in told["spans"]],
    )


class OneSecond:
    """Every step takes a second: the clock counts steps."""

    def seconds(self, _: Step) -> float:
        return 1.0


def by_simulation(requests: Trace) -> Told:
    """What the simulation does."""
    engine = Engine(
        cast(StepModel, OneSecond()),
        SEQUENCES,
        BATCHED,
        BLOCKS * BLOCK_TOKENS,
        block_tokens=BLOCK_TOKENS,
        reuses_blocks=True,
    )
    scheduler, told = Scheduler(engine, Workload(concurrency=1)), Told([], [], [])
    ended: dict[float, Request] = {}
    while len(ended) < len(requests):
        for number, (step, prompt, answer) in enumerate(requests):
            if step == len(told.steps):
                scheduler.arrive(step + number / 1024, prompt, answer)
        if scheduler.idle:
            scheduler.skip_to(scheduler.now + 1)
        else:
            ended |= {r.arrival: r for r in scheduler.advance(scheduler.now + 1)}
        told.steps.append((scheduler.running, scheduler.waiting, scheduler.preemptions))
        told.kv_use.append(scheduler.kv_use)
    for number, (step, _, _) in enumerate(requests):
        request = ended[step + number / 1024]
        told.spans.append((int(request.first_token) - 1, int(request.end) - 1))
    return told


def test_the_queue_is_that_of_vllm_after_every_step(tmp_path: Path) -> None:
    """Running, waiting, preempted and KV over time; TTFT and TPOT of every request, in steps."""
    requests = trace()
    real, simulated = by_vllm(tmp_path, requests), by_simulation(requests)
    assert real.steps[-1][2] >= 5  # preemptions: else little is compared
    assert max(waiting for _, waiting, _ in real.steps) >= 5
    assert max(prompt for _, prompt, _ in requests) > BATCHED
    assert simulated.steps == real.steps
    assert simulated.kv_use == pytest.approx(real.kv_use)
    assert simulated.spans == real.spans
