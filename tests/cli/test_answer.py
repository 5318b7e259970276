"""The answer of `tpdeploy plan` in one screen."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.commands import answered, tpdeploy

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
USUAL = ("plan", "llama-70b", "--gpus", "8xH100")


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TPDEPLOY_HOME", str(tmp_path))


def test_the_usual_answer_is_one_screen() -> None:
    """At 80 columns at most 16 lines, of which the first says what to do."""
    lines = answered(*USUAL, width=80).splitlines()
    assert len(lines) <= 16
    assert lines[0] == "Use one group of all 8 GPUs: tensor parallel (TP) 8, 1 replica."
    assert lines[-1].startswith("Next: tpdeploy launch.")


def test_the_readme_shows_it() -> None:
    """Line by line, with today's figures."""
    quoted = re.search(r"```console\n\$ tpdeploy plan llama-70b.*?\n(.*?)```", README, re.DOTALL)
    assert quoted is not None
    assert answered(*USUAL, width=80) == quoted[1]


@pytest.mark.parametrize(
    ("args", "answer"),
    [
        (["llama-8b", "--gpus", "2xH100", "--tp", "1"], "Use 2 replicas of one GPU"),
        (["llama-8b", "--gpus", "1xH100"], "Use one GPU: no tensor parallelism (TP 1)."),
        (["llama-8b", "--gpus", "2xH100", "--tp", "2"], "Use one group of both GPUs: tensor"),
        (["llama-8b", "--gpus", "3xH100", "--tp", "2"], "1 replica; 1 GPU is left idle."),
        (["llama-8b", "--gpus", "4xH100", "--optimize", "cost"], "3 GPUs are not needed."),
        (["llama-405b", "--gpus", "2x8xH100"], "parallel (TP) 8, 2 pipeline stages (PP), 1 rep"),
        (
            ["mixtral-8x7b", "--gpus", "8xH100", "--tp", "2", "--dp", "4"],
            "data-parallel attention (DP) 4, tensor parallel (TP) 2, expert parallel (EP), 1 rep",
        ),
    ],
)
@pytest.mark.slow
def test_every_kind_of_split_is_told_in_words(args: list[str], answer: str) -> None:
    """Groups, devices of each, and each kind of parallelism by its name and its letters."""
    assert answer in answered("plan", *args, "--backend", "vllm", width=200).splitlines()[0]


def test_the_comparison_is_one() -> None:
    """The share in the reason is that of the table and of the details."""
    plan = json.loads(answered(*USUAL, "--json"))
    other = plan["alternatives"][0]
    share = other["output_tokens_per_s"] / plan["prediction"]["output_tokens_per_s"]["value"] - 1
    assert f"TP 4 x 2 instead would serve {-share:.0%} fewer tokens/s" in plan["why"][0]
    assert f"TP 4 x 2 instead: {share:+.0%} tokens/s" in " ".join(plan["reasons"])


def test_a_worse_split_with_shorter_decode_steps_is_explained() -> None:
    """What it loses by is told, and only then."""
    decide = "; steps that also read prompts decide"
    for args, told in (
        (("qwen3-14b", "--gpus", "2xA100", "--concurrency", "200", "--backend", "vllm"), True),
        (USUAL[1:], False),
    ):
        plan = json.loads(answered("plan", *args, "--json"))
        assert (decide in plan["why"][0]) == told
        assert (decide in " ".join(plan["reasons"])) == told


def test_what_keeps_an_overload_away_does() -> None:
    """The load that the warning names fits."""
    args = ["Qwen/Qwen2.5-72B-Instruct-AWQ", "--gpus", "2x3090", "--tp", "2", "--backend", "vllm"]
    warned = answered("plan", *args, width=300).splitlines()[0]
    named = re.search(r"What helps: --concurrency (\d+), or more GPUs\.", warned)
    assert named is not None
    fits = json.loads(answered("plan", *args, "--concurrency", named[1], "--json"))
    assert fits["overload"] is None


@pytest.mark.parametrize("width", [40, 60])
def test_narrow_terminals_have_no_broken_words(width: int) -> None:
    """Text wraps between words, and the bars go."""
    lines = answered(*USUAL, width=width).splitlines()
    assert max(map(len, lines)) <= width
    assert not any("…" in line for line in lines)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@pytest.mark.parametrize("more", [[], ["--all"], ["--json"]])
@pytest.mark.slow
def test_stdout_without_utf_8(encoding: str, more: list[str]) -> None:
    """Bars are drawn in its own characters; nothing ends in a traceback."""
    ran = subprocess.run(
        [sys.executable, "-m", "tpdeploy", *USUAL, *more],
        env={**os.environ, "PYTHONIOENCODING": encoding, "COLUMNS": "80"},
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert "?" not in ran.stdout.decode(encoding)
    assert b"#####" in ran.stdout or "--json" in more


def test_a_refusal_shows_the_splits_that_come_closest() -> None:
    """With `--all` every one."""
    refused = ("plan", "deepseek-r1", "--gpus", "8xH100")
    few = tpdeploy(*refused, width=200).stdout.splitlines()
    every = tpdeploy(*refused, "--all", width=200).stdout.splitlines()
    assert 1 < len(few) <= 5 < len(every)
    assert any(line.strip().startswith("TP 8 x 1") for line in few)


@pytest.mark.parametrize(("model", "code"), [("smollm2", 0), ("llama-405b", 3)])
def test_a_machine_without_a_gpu_says_so(
    model: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First, or in the refusal; not where CPUs were asked for."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    said = tpdeploy("plan", model, width=300)
    assert said.returncode == code
    assert "no GPU was found on this machine; --gpus 8xH100" in said.stdout + said.stderr
    assert "no GPU was" not in tpdeploy("plan", model, "--gpus", "1xCPU", width=300).stdout
