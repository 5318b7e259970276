"""The TensorRT-LLM adapter says what a plan says, in words of every release from 1.0 to 1.3."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tpdeploy.backends import tensorrt_llm
from tpdeploy.backends.base import Command, Site
from tpdeploy.backends.meaning import example_plan, settings
from tpdeploy.backends.tensorrt_llm import TensorRtLlmBackend
from tpdeploy.backends.vllm import VllmBackend
from tpdeploy.planner.memory.footprint import DRIVER_BYTES
from tpdeploy.planner.plan import DeploymentPlan, Placement

ENGINE = TensorRtLlmBackend()
SITE = Site("127.0.0.1", "8001", Path("/deployments/default/replica-0"))
CONTRACT_FILE = Path(tensorrt_llm.__file__).parent / "contracts" / "tensorrt-llm.yaml"
CONTRACT = yaml.safe_load(CONTRACT_FILE.read_text())
FRACTION = "options.yaml: kv_cache_config.free_gpu_memory_fraction"


def plan(**changes: dict[str, Any]) -> DeploymentPlan:
    parts = example_plan(ENGINE).model_dump()
    for name, values in changes.items():
        parts[name] |= values
    return DeploymentPlan.model_validate(parts)


def rendered(of: DeploymentPlan) -> Command:
    return ENGINE.render(of, of.placement[0], SITE)


def test_every_limit_of_the_plan_is_told() -> None:
    """By the names that `trtllm-serve` has had since 1.0."""
    made = plan()
    told = settings(rendered(made))
    assert told["argument 1"] == made.model.id
    assert (told["--tp_size"], told["--pp_size"]) == ("4", "1")
    assert told["--gpus_per_node"] == "4"
    assert told["--max_seq_len"] == str(made.limits.max_model_len)
    assert told["--max_batch_size"] == str(made.limits.max_num_seqs)
    assert told["--max_num_tokens"] == str(made.limits.max_num_batched_tokens)
    assert told[FRACTION] == f"{made.limits.memory_fraction:g}"
    assert told["options.yaml: kv_cache_config.dtype"] == "auto"
    assert told["options.yaml: enable_chunked_prefill"] == "True"


def taken(part: str, release: str) -> set[str]:
    every = CONTRACT[part].items()
    return {n for n, d in every if d["since"] <= release <= d.get("until", release)}


def wide_settings() -> dict[str, str]:
    parts = plan(model={"kv_cache_dtype": "fp8", "path": "/models/mine"}).model_dump()
    parts["parallelism"]["expert"] = 4
    return settings(rendered(DeploymentPlan.model_validate(parts)))


@pytest.mark.parametrize("release", CONTRACT["starts"])
def test_nothing_is_given_that_a_release_does_not_take(release: str) -> None:
    """Flags and options of the largest plan: whole experts, FP8 cache, a local folder."""
    told = wide_settings()
    options = {n.removeprefix("options.yaml: ") for n in told if n.startswith("options.yaml")}
    assert {name for name in told if name.startswith("--")} <= taken("flags", release)
    assert options <= taken("options", release)


def test_whole_experts_an_fp8_cache_and_a_folder_are_told() -> None:
    """Each by its own setting."""
    told = wide_settings()
    assert told["--ep_size"] == "4"
    assert told["options.yaml: kv_cache_config.dtype"] == "fp8"
    assert told["HF_HUB_OFFLINE="] == "1"


@pytest.mark.parametrize("release", CONTRACT["starts"])
def test_data_parallel_attention_makes_every_rank_a_data_rank(release: str) -> None:
    """By an option that every release takes; with tensor-parallel attention it is refused."""
    parts = plan().model_dump()
    parts["parallelism"] |= {"tensor": 1, "data": 4, "expert": 4}
    data = DeploymentPlan.model_validate(parts)
    told = settings(rendered(data))
    assert tensorrt_llm.TensorRtLlmBackend().check(data) == []
    assert (told["--tp_size"], told["--ep_size"], told["--gpus_per_node"]) == ("4", "4", "4")
    assert told["options.yaml: enable_attention_dp"] == "True"
    assert "enable_attention_dp" in taken("options", release)
    parts["parallelism"] |= {"tensor": 2, "data": 2}
    (problem,) = tensorrt_llm.TensorRtLlmBackend().check(DeploymentPlan.model_validate(parts))
    assert "either data-parallel or tensor-parallel" in problem.what


def test_every_name_of_the_contract_has_a_source() -> None:
    """One of those it lists, and a release it knows."""
    for part in ("flags", "options"):
        for name, described in CONTRACT[part].items():
            assert set(described["source"]) <= set(CONTRACT["sources"]), name
            assert described["since"] in CONTRACT["releases"], name


def test_the_release_that_is_installed_is_one_it_starts() -> None:
    """`tpdeploy backends install` brings a release that takes the options."""
    assert tensorrt_llm.ENVIRONMENT.version.rpartition(".")[0] in CONTRACT["starts"]


def test_a_plan_of_vllms_leaves_the_same_kv_cache() -> None:
    """0.92 of the whole card is another number of what is free, for the same bytes."""
    theirs = example_plan(VllmBackend())
    told = float(settings(rendered(theirs))[FRACTION])
    memory = theirs.memory_per_gpu
    free = memory.kv_cache_bytes + memory.reserved_bytes - DRIVER_BYTES
    assert told * free == pytest.approx(memory.kv_cache_bytes, rel=0.002)
    assert told != pytest.approx(theirs.limits.memory_fraction, abs=0.005)


def test_several_machines_are_joined_by_mpi() -> None:
    """A task a rank, which runs NVIDIA's launcher; what starts the job is its runtime's."""
    parts = plan(cluster={"nodes": 2}).model_dump()
    parts["parallelism"]["pipeline"] = 2
    nodes = (0,) * 4 + (1,) * 4
    place = Placement(replica=0, devices=(*range(4), *range(4)), nodes=nodes)
    parts["placement"] = [place]
    wide = DeploymentPlan.model_validate(parts)
    assert ENGINE.check(wide) == []
    assert ENGINE.joined_by_mpi
    command = ENGINE.render(wide, place, SITE)
    assert command.argv[:2] == ("trtllm-llmapi-launch", "trtllm-serve")
    assert settings(command)["--gpus_per_node"] == "4"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"cluster": {"platform": "rocm"}}, "no tensorrt-llm on rocm"),
        ({"cluster": {"compute_capability": 7.5}}, "compute capability 7.5"),
        ({"model": {"architecture": "Gemma2ForCausalLM"}}, "no Gemma2ForCausalLM"),
        ({"model": {"quantization": "fp8"}}, "no fp8 quantization while loading"),
        ({"model": {"stored_as": "awq"}}, "no awq checkpoints"),
        ({"model": {"dtype": "fp16", "kv_cache_dtype": "fp16"}}, "no fp16 of a bf16 checkpoint"),
    ],
)
def test_what_it_cannot_run_is_found_before_it_starts(
    change: dict[str, dict[str, Any]], words: str
) -> None:
    """Each problem comes with its remedy."""
    problems = ENGINE.check(plan(**change))
    assert any(words in problem.what for problem in problems)
    assert all(problem.remedy for problem in problems)


def test_a_sound_plan_has_no_problems() -> None:
    """Its own example."""
    assert ENGINE.check(plan()) == []


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["Usage: trtllm-serve", "Error: No such option: --x"], "No such option: --x"),
        (["ValueError: bad", "[TRT-LLM] [E] shutting down"], "ValueError: bad"),
        (["[11/23] [TRT-LLM] [E] out of memory"], "out of memory"),
        (["1 validation error for X", "a_key", "  Not so [type=t, i=1]"], "a_key: Not so"),
        (["all is well"], None),
    ],
)
def test_the_reason_of_its_end(lines: list[str], reason: str | None) -> None:
    """What was refused, else the exception, else the engine's own error."""
    assert ENGINE.failure(lines) == reason


@pytest.mark.parametrize(
    ("line", "stage"),
    [
        ("[TRT-LLM] [I] Running autotuner warmup...", "tuning kernels"),
        (
            "[TensorRT-LLM][INFO] [MemUsageChange] Allocated 1.01 GiB for max tokens in paged KV "
            "cache (8256).",
            "KV cache allocated",
        ),
        ("[TRT-LLM] [I] Creating CUDA graph instances for 32 batch sizes.", "capturing graphs"),
        ("[TRT-LLM] [I] cache_transceiver is disabled", None),
    ],
)
def test_the_log_tells_how_far_the_start_has_come(line: str, stage: str | None) -> None:
    """Lines as NVIDIA/TensorRT-LLM issue 8961 shows them."""
    assert ENGINE.progress(line) == stage


@pytest.fixture
def serve(tmp_path: Path) -> Path:
    """The stand-in for `trtllm-serve`, which writes help as click does."""
    source = (Path(__file__).parents[1] / "launcher" / "standin_trtllm.py").read_text()
    program = tmp_path / "trtllm-serve"
    program.write_text(source.replace("/usr/bin/env python3", sys.executable, 1))
    program.chmod(0o755)
    return program


def contract_checked(program: Path, contract: Path) -> subprocess.CompletedProcess[str]:
    script = Path(__file__).parents[2] / "scripts" / "check_trtllm_contract.py"
    env = {**os.environ, "TRTLLM_CONTRACT": str(contract)}
    command = [sys.executable, str(script), str(program)]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_contract_is_held_against_a_program_that_helps(serve: Path) -> None:
    """All that the adapter gives is there; a flag of another release is no failure."""
    done = contract_checked(serve, CONTRACT_FILE)
    assert done.returncode == 0, done.stderr
    assert "--served_model_name: not there" in done.stdout


@pytest.mark.slow
def test_a_flag_that_the_adapter_gives_and_a_release_lacks_fails_the_check(
    serve: Path, tmp_path: Path
) -> None:
    """It is named, and so is one that the contract does not know."""
    other = yaml.safe_load(CONTRACT_FILE.read_text())
    other["flags"]["--new_flag"] = other["flags"].pop("--ep_size") | {"same_as": "--its_twin"}
    (tmp_path / "contract.yaml").write_text(yaml.safe_dump(other))
    done = contract_checked(serve, tmp_path / "contract.yaml")
    assert done.returncode == 1
    assert "--ep_size: MISSING, the adapter gives it" in done.stdout
    assert "--new_flag: not in the contract" in done.stdout
