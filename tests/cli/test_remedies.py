"""What a refusal says would work does work when it is followed."""

import re
from pathlib import Path

import pytest

from tests.cli.commands import refused, tpdeploy

AWQ = "Qwen/Qwen2.5-72B-Instruct-AWQ"
WORKS = "; what would work: "


def remedies(home: Path, *args: str) -> list[str]:
    """Those that the refusal of `plan ARGS` names."""
    line = refused("plan", *args, home=home, code=3)
    return line.partition(WORKS)[2].split(", or ") if WORKS in line else []


def followed(args: list[str], remedy: str) -> list[str]:
    """The arguments as somebody would change them."""
    words, _, without = remedy.partition(" without ")
    for option in re.findall(r"--\S+", without):
        args = _dropped(args, option)
    if words.startswith("the checkpoint "):
        return [words.removeprefix("the checkpoint "), *args[1:]]
    if left := re.fullmatch(r"leaving (\S+) out", words):
        return _dropped(args, left[1])
    for option, value in re.findall(r"(--\S+) (\S+)", words):
        args = [*_dropped(args, option), option, value]
    return args


def _dropped(args: list[str], option: str) -> list[str]:
    if option not in args:
        return args
    at = args.index(option)
    return args[:at] + args[at + (1 if option in {"--ep", "--no-ep"} else 2) :]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("args", "least"),
    [
        (["deepseek-r1", "--gpus", "8xH100"], 2),  # an FP8 checkpoint, its weights alone too large
        ([AWQ, "--gpus", "1x3090"], 1),
        (["llama-405b", "--gpus", "2xL40S"], 1),
        (["llama-70b", "--gpus", "2x3090"], 2),
        (["llama-70b", "--gpus", "1xH100", "--max-model-len", "100000"], 2),
        (["gemma-3-27b", "--gpus", "2x3090", "--tp", "1"], 2),
        (["llama-8b", "--gpus", "1x4090", "--max-model-len", "131072"], 2),
        (["llama-70b", "--gpus", "8xH100", "--tp", "1", "--pp", "1"], 3),
        (["kimi-k2", "--gpus", "8xH100", "--pp", "1"], 1),
        (["mixtral-8x7b", "--gpus", "2x3090", "--backend", "vllm"], 1),
        (["llama-70b", "--gpus", "2xH100", "--memory-fraction", "0.6", "--backend", "vllm"], 2),
        (["llama-70b", "--gpus", "8xH100", "--rate", "100"], 2),
        (["llama-70b", "--gpus", "8xH100", "--tpot", "12", "--concurrency", "200"], 1),
        (["llama-70b", "--gpus", "H100", "--rate", "1000"], 1),
        (["llama-8b", "--gpus", "1xL40S", "--ttft", "120", "--concurrency", "64"], 1),
        (["llama-70b", "--gpus", "8xH100", "--ttft", "5@p99", "--tpot", "2"], 1),
    ],
)
def test_every_remedy_works(tmp_path: Path, args: list[str], least: int) -> None:
    """Each one alone makes a plan of what had none."""
    found = remedies(tmp_path, *args)
    assert len(found) >= least
    for remedy in found:
        result = tpdeploy("plan", *followed(args, remedy), home=tmp_path)
        assert result.returncode == 0, f"{remedy}: {result.stderr}"


@pytest.mark.parametrize(
    "args",
    [
        ["llama-70b", "--gpus", "8xH100", "--tpot", "1", "--rate", "100"],
        ["llama-405b", "--gpus", "1xCPU", "--quantization", "fp8"],
    ],
)
@pytest.mark.slow
def test_nothing_is_named_where_nothing_was_found(tmp_path: Path, args: list[str]) -> None:
    """A target beside a rate that is too high, a format that no CPU gets while loading."""
    assert remedies(tmp_path, *args) == []


def test_a_target_out_of_reach_is_answered_with_one_that_is_met(tmp_path: Path) -> None:
    """No load and no number of GPUs meets it, but the closest split meets another."""
    args = ["llama-8b", "--gpus", "1xH100", "--tpot", "1"]
    (found,) = remedies(tmp_path, *args)
    assert tpdeploy("plan", *followed(args, found), home=tmp_path).returncode == 0


def test_a_cpu_without_memory_is_told_how_much_is_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that has it runs the plan."""
    monkeypatch.setattr("tpdeploy.profiles.machine.detect.memory_bytes", lambda: 16 * 2**30)
    (found,) = remedies(tmp_path, "llama-70b", "--gpus", "1xCPU")
    enough = re.fullmatch(r"a machine with (\d+) GiB of memory", found)
    assert enough
    monkeypatch.setattr(
        "tpdeploy.profiles.machine.detect.memory_bytes", lambda: int(enough[1]) * 2**30
    )
    assert tpdeploy("plan", "llama-70b", "--gpus", "1xCPU", home=tmp_path).returncode == 0


@pytest.mark.parametrize("model", ["deepseek-r1", AWQ])
@pytest.mark.slow
def test_a_narrow_checkpoint_is_not_to_be_quantized(tmp_path: Path, model: str) -> None:
    """FP8 while loading is offered for 16-bit checkpoints alone, a shorter context if stated."""
    found = " ".join(remedies(tmp_path, model, "--gpus", "1x3090"))
    assert found
    assert "--quantization" not in found
    assert "--max-model-len" not in found


@pytest.mark.slow
def test_stages_for_want_of_memory_give_way_to_a_width_that_can_be_made_to_fit(
    tmp_path: Path,
) -> None:
    """Two stages of which most of the load waits are not chosen over TP 2 with fewer sequences."""
    result = tpdeploy("plan", AWQ, "--gpus", "2x3090", home=tmp_path, width=120)
    assert "tensor parallel (TP) 2, 1 replica" in result.stdout
    assert "TP alone fits only with --max-num-seqs 128" in result.stdout
    staged = tpdeploy(
        "plan", AWQ, "--gpus", "2x3090", "--pp", "2", "--all", home=tmp_path, width=120
    )
    assert "TP 1 x PP 2 x 1 replica" in staged.stdout


def test_the_planner_tries_for_itself_before_it_refuses(tmp_path: Path) -> None:
    """72B in INT4 on two 24 GB cards at TP 2: fewer sequences make room, and that is said."""
    args = [AWQ, "--gpus", "2x3090", "--tp", "2"]
    result = tpdeploy("plan", *args, home=tmp_path, width=120)
    assert result.returncode == 0, result.stderr
    assert "Fits only with --max-num-seqs 128" in result.stdout
    stated = [*args, "--max-num-seqs", "256"]
    shown = tpdeploy("plan", *stated, "--all", home=tmp_path, width=120).stdout
    assert "Fits only with --enforce-eager" in shown
    assert "256 sequences" in shown


def test_what_was_stated_is_not_changed(tmp_path: Path) -> None:
    """With all of it stated there is nothing left to try."""
    args = [AWQ, "--gpus", "2x3090", "--tp", "2", "--max-num-seqs", "256"]
    args += ["--memory-fraction", "0.85", "--max-num-batched-tokens", "2048"]
    assert "does not fit" in refused("plan", *args, home=tmp_path, code=3)
