"""The TensorRT-LLM adapter says what a plan says, in words of every release from 1.0 to 1.3."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tpdeploy.backends import tensorrt_llm
from tpdeploy.backends.base import Command, Site
from tpdeploy.backends.meaning import example_plan, settings
from tpdeploy.backends.tensorrt_llm import TensorRtLlmBackend
from tpdeploy.backends.vllm import VllmBackend
from tpdeploy.planner.memory import DRIVER_BYTES
from tpdeploy.planner.plan import DeploymentPlan, Placement

ENGINE = TensorRtLlmBackend()
SITE = Site("127.0.0.1", 8001, Path("/deployments/default/replica-0"))
CONTRACT = yaml.safe_load(
    (Path(tensorrt_llm.__file__).parent / "contracts" / "tensorrt-llm.yaml").read_text()
)


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
    assert told["--kv_cache_free_gpu_memory_fraction"] == f"{made.limits.memory_fraction:g}"
    assert told["CUDA_VISIBLE_DEVICES="] == "0,1,2,3"
    assert told["options.yaml: kv_cache_config.dtype"] == "auto"
    assert told["options.yaml: enable_chunked_prefill"] == "True"


def test_nothing_is_given_that_the_contract_does_not_list() -> None:
    """Flags and options of the largest plan: whole experts, FP8 cache, a local folder."""
    parts = plan(model={"kv_cache_dtype": "fp8", "path": "/models/mine"}).model_dump()
    parts["parallelism"]["expert"] = 4
    command = rendered(DeploymentPlan.model_validate(parts))
    told = settings(command)
    flags = {name for name in told if name.startswith("--")}
    options = {n.removeprefix("options.yaml: ") for n in told if n.startswith("options.yaml")}
    assert flags <= set(CONTRACT["flags"])
    assert options <= set(CONTRACT["options"])
    assert not flags & set(CONTRACT["refused"])
    assert told["--ep_size"] == "4"
    assert told["options.yaml: kv_cache_config.dtype"] == "fp8"
    assert told["HF_HUB_OFFLINE="] == "1"


def test_a_plan_of_vllms_leaves_the_same_kv_cache() -> None:
    """0.92 of the whole card is another number of what is free, for the same bytes."""
    theirs = example_plan(VllmBackend())
    told = float(settings(rendered(theirs))["--kv_cache_free_gpu_memory_fraction"])
    memory = theirs.memory_per_gpu
    free = memory.kv_cache_bytes + memory.reserved_bytes - DRIVER_BYTES
    assert told * free == pytest.approx(memory.kv_cache_bytes, rel=0.002)
    assert told != pytest.approx(theirs.limits.memory_fraction, abs=0.005)


def test_several_machines_are_one_job_of_slurm() -> None:
    """A task a rank; Slurm starts the other machines, and says which GPUs each sees."""
    parts = plan(cluster={"nodes": 2}).model_dump()
    parts["parallelism"]["pipeline"] = 2
    nodes = (0,) * 4 + (1,) * 4
    place = Placement(replica=0, devices=(*range(4), *range(4)), nodes=nodes)
    parts["placement"] = [place]
    wide = DeploymentPlan.model_validate(parts)
    assert ENGINE.check(wide) == []
    assert ENGINE.starts_other_machines
    command = ENGINE.render(wide, place, replace(SITE, machine=0))
    start = "srun --mpi=pmix --nodes 2 --ntasks 8 --ntasks-per-node 4 trtllm-llmapi-launch"
    assert " ".join(command.argv).startswith(f"{start} trtllm-serve ")
    assert "CUDA_VISIBLE_DEVICES" not in command.env


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
        (["all is well"], None),
    ],
)
def test_the_reason_of_its_end(lines: list[str], reason: str | None) -> None:
    """What was refused, else the exception, else the engine's own error."""
    assert ENGINE.failure(lines) == reason


@pytest.mark.parametrize(("lacks", "code"), [("", 0), ("--ep_size", 1)])
def test_the_contract_is_held_against_a_program_that_helps(
    tmp_path: Path, lacks: str, code: int
) -> None:
    """The script names the flag that a release lacks."""
    help_text = "\n".join(f"  {flag} TEXT" for flag in CONTRACT["flags"] if flag != lacks)
    program = tmp_path / "trtllm-serve"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{help_text}\nEND\n")
    program.chmod(0o755)
    script = Path(__file__).parents[2] / "scripts" / "check_trtllm_contract.py"
    command = [sys.executable, str(script), str(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert ("MISSING" in done.stdout) == bool(lacks)
