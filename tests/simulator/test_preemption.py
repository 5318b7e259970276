"""KV blocks: the planner's scheduler preempts as the plain simulator does, request by request."""

from random import Random
from statistics import fmean
from typing import Any, cast

import pytest

from tests.planner.test_serving import LinearModel
from tests.simulator.plain import Engine, EngineLimits, Request
from tests.tiers import tiered
from tpdeploy.planner.performance.step_model import StepModel
from tpdeploy.planner.serving.scheduler import Engine as Planned
from tpdeploy.planner.serving.scheduler import Scheduler
from tpdeploy.planner.serving.simulation import follow
from tpdeploy.planner.workload import Workload

Trace = list[tuple[float, int, int]]
SEEDS = tiered(range(60), range(8))
# Of a workload only what its requests have in common counts here.
LOAD = Workload(concurrency=1)


def trace(draw: Random) -> Trace:
    """Requests that come faster than a small cache serves them."""
    count = draw.randint(20, 60)
    return sorted(
        (draw.random() * count * 0.05, draw.randint(1, 400), draw.randint(1, 200))
        for _ in range(count)
    )


def both(
    requests: Trace, sequences: int, batched: int, kv: int, block: int, **of: Any
) -> tuple[Scheduler, Engine, list[tuple[float, float]]]:
    """The two simulators after the trace, and of each request its end by them."""
    planned = Planned(
        cast(StepModel, LinearModel()), sequences, batched, kv, block_tokens=block, **of
    )
    scheduler = Scheduler(planned, LOAD)
    told = follow(scheduler, [(*request, 0.0) for request in requests])
    engine = Engine(
        LinearModel().seconds,
        EngineLimits(
            sequences,
            batched,
            kv,
            block_tokens=block,
            whole_requests=planned.whole_requests,
            reuses=planned.reuses_blocks,
        ),
    )
    plain = [Request(*request) for request in requests]
    for request in plain:
        engine.send(request)
    ended = 0
    while ended < len(plain):
        ended += len(engine.run_step())
    ends = {request.arrival: request.end for request in told}
    return scheduler, engine, [(ends[request.sent], request.end) for request in plain]


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_trace_ends_as_in_the_plain_simulator(seed: int, whole: bool) -> None:
    """Every request at the same time, with as many preemptions; prompts are read in one step."""
    draw = Random(seed)  # noqa: S311 - reproducible load, not cryptography
    requests, block = trace(draw), draw.choice([1, 16, 32, 128])
    kv = draw.randint(600, 1800) + 2 * block
    scheduler, engine, ends = both(requests, 16, 20_000, kv, block, whole_requests=whole)
    assert scheduler.preemptions == engine.preemptions
    assert (scheduler.preemptions > 0) is not whole
    for told, plain in ends:
        assert told == pytest.approx(plain, rel=1e-9)


@pytest.mark.parametrize("seed", SEEDS)
def test_chunks_and_found_blocks_end_alike(seed: int) -> None:
    """Prompts in chunks, whose blocks the planner takes all at once: end to end within 2 %."""
    draw = Random(seed)  # noqa: S311 - reproducible load, not cryptography
    requests = trace(draw)
    scheduler, engine, ends = both(requests, 16, 64, 1500, 16, reuses_blocks=True)
    assert scheduler.preemptions == pytest.approx(engine.preemptions, abs=3, rel=0.2)
    waits = [
        (told - sent, plain - sent)
        for (sent, _, _), (told, plain) in zip(requests, ends, strict=True)
    ]
    assert fmean(w[0] for w in waits) == pytest.approx(fmean(w[1] for w in waits), rel=0.02)
    assert max(abs(told / plain - 1) for told, plain in waits) < 0.25
