"""Completion in a real shell: what Tab offers."""

import os
import subprocess
import sys
from pathlib import Path
from shutil import which

import pytest

pytestmark = pytest.mark.processes

BASH = which("bash")
# What bash does when Tab is pressed behind the words that it is given.
TAB = """
eval "$(_TPDEPLOY_COMPLETE=source_bash tpdeploy)"
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_tpdeploy_completion tpdeploy
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.skipif(BASH is None, reason="no bash on this machine")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["pl"], ["plan"]),
        (["plan", "llama-3.3-7"], ["llama-3.3-70b", "llama-3.3-70b-fp8"]),
        (["plan", "Qwen/QwQ"], ["Qwen/QwQ-32B"]),
        (["plan", "llama-70b", "--gpus", "8xH20"], ["8xH20", "8xH200"]),
        (["plan", "llama-70b", "--gpus", "2x8xGB2"], ["2x8xGB200"]),
        (["plan", "llama-70b", "--gpus", "au"], ["auto"]),
        (["plan", "llama-70b", "--backend", "v"], ["vllm"]),
        (["plan", "llama-70b", "--interconnect", "nvl7"], ["nvl72-gen5"]),
        (["plan", "llama-70b", "--network", "ethernet-1"], ["ethernet-100g"]),
        (["plan", "llama-70b", "--opt"], ["--optimize"]),
        (["stop", "--name", "wee"], []),
    ],
)
def test_bash_offers_what_is_known(tmp_path: Path, words: list[str], offered: list[str]) -> None:
    """Commands, options, and the names of models, GPUs, engines and links."""
    found = tab(tmp_path, *words)
    assert set(offered) <= set(found)
    assert all(each.lower().startswith(words[-1].lower()) for each in found)


def tab(home: Path, *words: str) -> list[str]:
    """What bash offers behind `tpdeploy WORDS`."""
    assert BASH is not None
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ran = subprocess.run(
        [BASH, "--norc", "-c", TAB, "bash", "tpdeploy", *words],
        env={**os.environ, "PATH": path, "TPDEPLOY_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.split()
