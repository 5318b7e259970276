"""A plan carries the whole request: its question comes out of the file as it went in."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from tpdeploy.backends.choice import ask_one
from tpdeploy.backends.inputs import inputs_of, pose, request_behind
from tpdeploy.backends.registry import load_backend
from tpdeploy.errors import InfeasibleError, InputError
from tpdeploy.planner.inputs import PlanInputs
from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.planner.request import Request
from tpdeploy.planner.search.evaluation import Refusal, evaluate
from tpdeploy.planner.search.replay import at_load, replay
from tpdeploy.planner.search.search import Solved, plan
from tpdeploy.planner.search.token_budget import fewest_with_steps, search_steps
from tpdeploy.planner.workload import Target, Workload
from tpdeploy.profiles.machine.gpus_spec import parse_gpus
from tpdeploy.profiles.models.library import load_model
from tpdeploy.profiles.record import Dtype
from tpdeploy.records import dump_record, parse_record

LOAD = Workload(concurrency=16)


def asked_and_planned(
    model: str,
    gpus: str,
    request: Request,
    load: Workload = LOAD,
    engine: str = "vllm",
    solve: Callable[[PlanInputs], Solved] = search_steps,
) -> tuple[PlanInputs, DeploymentPlan]:
    """The question that was answered, and the plan as it is read from its file."""
    cluster = parse_gpus(gpus, request.interconnect, network=request.network)
    stored, backend = load_model(model), load_backend(engine)
    choice = ask_one(backend, lambda e: pose(request, stored, cluster, load, e), solve)
    made = plan(*choice.solved)
    return choice.solved[0], parse_record(dump_record(made), DeploymentPlan, "plan.yaml")


def assert_the_same(asked: PlanInputs, made: DeploymentPlan) -> None:
    """Field by field, and with it the plan's own prediction."""
    again = inputs_of(made)
    for field in fields(PlanInputs):
        assert getattr(again, field.name) == getattr(asked, field.name), field.name
    assert replay(again, made, made.workload) == made.prediction


REQUESTS = st.fixed_dictionaries(
    {},
    optional={
        "tensor": st.sampled_from([1, 2, 4]),
        "pipeline": st.sampled_from([1, 2]),
        "replicas": st.just(1),
        "optimize": st.sampled_from(["throughput", "latency", "cost"]),
        "gpu_price_per_hour": st.floats(0.1, 99),
        "dtype": st.sampled_from([Dtype.BF16, Dtype.FP16]),
        "quantization": st.just("fp8"),
        "kv_cache": st.sampled_from(["auto", "fp8"]),
        "max_model_len": st.integers(1280, 40_000),
        "max_num_batched_tokens": st.integers(300, 60_000),
        "max_num_seqs": st.integers(1, 300),
        "memory_fraction": st.floats(0.8, 0.97),
        "enforce_eager": st.booleans(),
        "interconnect": st.sampled_from(["pcie", "pcie-gen4", "nvlink"]),
    },
)
LOADS = st.builds(
    Workload,
    concurrency=st.integers(1, 600),
    ttft=st.one_of(st.none(), st.builds(Target, ms=st.integers(100_000, 200_000))),
    prefix_hit_rate=st.sampled_from([0.0, 0.5]),
)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(REQUESTS, LOADS)
def test_a_written_plan_asks_the_question_it_answers(
    options: dict[str, Any], load: Workload
) -> None:
    """Whatever was stated on the command line, and whatever was left open."""
    try:
        asked, made = asked_and_planned("qwen3-8b", "4x3090", Request(**options), load)
    except (InputError, InfeasibleError):
        reject()
    assert_the_same(asked, made)


@pytest.mark.parametrize(
    ("model", "gpus", "request_"),
    [
        ("llama-70b", "8xH100", Request(max_num_batched_tokens=1024, max_model_len=100_000)),
        ("llama-70b", "2x8xH100", Request()),
        ("llama-70b", "2x8xH100", Request(network="tcpxo-200g", tensor=8, pipeline=2)),
        ("deepseek-v3", "4x4xGB200", Request(network="infiniband-ndr")),
        ("deepseek-v3", "4x4xGB200", Request()),
        ("deepseek-v3", "2xGB300-NVL72", Request(tensor=8)),
        ("gpt-oss-120b", "2xDGX-Spark", Request(tensor=2)),
        ("qwen3-30b-a3b", "4xL40S", Request(expert_parallel=True, kv_cache="fp8")),
        ("qwen3-30b-a3b", "4xL40S", Request(expert_parallel=False)),
        ("qwen3-30b-a3b", "4xL40S", Request(data=2)),
        ("llama-8b", "2xT4", Request()),
        ("smollm2-135m", "2xCPU", Request(max_model_len=2048)),
        ("Qwen/Qwen2.5-72B-Instruct-AWQ", "4x3090", Request(quantization="awq")),
    ],
)
def test_kinds_of_devices_and_checkpoints_are_kept(
    model: str, gpus: str, request_: Request
) -> None:
    """Networks, domains, shares of a CPU, quantized checkpoints, whole experts."""
    load = Workload(input_tokens=128, output_tokens=64, concurrency=8)
    assert_the_same(*asked_and_planned(model, gpus, request_, load))


@pytest.mark.parametrize("engine", ["tensorrt-llm", "deepspeed-mii"])
def test_every_engine_is_asked_again_as_it_was(engine: str) -> None:
    """Its own rule of memory and what it can run come from its adapter."""
    assert_the_same(*asked_and_planned("llama-8b", "2xH100", Request(), engine=engine))


@pytest.mark.slow
def test_an_open_count_is_kept_as_open() -> None:
    """The machines are those found, and that they were not stated is in the request."""
    load = Workload(rate=20, output_tokens=64)
    asked, made = asked_and_planned("llama-8b", "H100", Request(), load, solve=fewest_with_steps)
    assert made.request is not None
    assert (made.request.optimize, made.request.settled) == ("fewest", ("optimize",))
    assert_the_same(asked, made)


def test_what_the_planner_filled_is_told_from_what_was_asked() -> None:
    """Smaller steps that a target needed are in the request, as settled here."""
    load = Workload(concurrency=32, length_spread=0, ttft=Target(ms=300))
    asked, made = asked_and_planned("llama-70b", "8xH100", Request(), load)
    assert made.request is not None
    assert made.request.settled == ("max_num_batched_tokens",)
    assert made.request.max_num_batched_tokens == made.limits.max_num_batched_tokens
    assert_the_same(asked, made)


def test_a_squeezed_plan_is_asked_for_as_it_was_squeezed() -> None:
    """What the planner changed to make it fit is in the request, and told from what was asked."""
    model = "Qwen/Qwen2.5-72B-Instruct-AWQ"
    asked, made = asked_and_planned(model, "2x3090", Request(tensor=2))
    assert made.request is not None
    assert made.request.settled == ("max_num_seqs",)
    assert any(reason.startswith("Fits only with --max-num-seqs 128") for reason in made.reasons)
    assert_the_same(asked, made)


def test_a_plan_that_barely_fits_is_predicted_under_other_loads() -> None:
    """Its own small steps are counted with, not the usual ones for which there is no room."""
    request = Request(quantization="fp8", max_num_batched_tokens=512, max_model_len=9000)
    load = Workload(input_tokens=256, output_tokens=64, concurrency=2)
    asked, made = asked_and_planned("llama-70b", "1xH100", request, load)
    usual = evaluate(replace(asked, max_num_batched_tokens=None), made.parallelism)
    assert isinstance(usual, Refusal)
    prediction = replay(inputs_of(made), made, at_load(load, 4))
    assert prediction.output_tokens_per_s.value > 0


def test_an_old_plan_is_read_and_predicted_with_its_own_answer() -> None:
    """Without a request, what stands in the plan is taken for what was asked."""
    request = Request(max_num_batched_tokens=1024)
    _, made = asked_and_planned("llama-8b", "4xL40S", request)
    text = dump_record(made.model_copy(update={"request": None}))
    assert "request:" not in text
    old = parse_record(text, DeploymentPlan, "old.yaml")
    assert request_behind(old).max_num_batched_tokens == 1024
    assert replay(inputs_of(old), old, old.workload) == made.prediction


def test_every_field_of_a_request_is_one_of_a_question() -> None:
    """So that none is asked for and then lost."""
    assert set(Request.model_fields) <= {field.name for field in fields(PlanInputs)}
