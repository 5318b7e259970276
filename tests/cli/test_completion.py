"""Completion in real shells: what Tab offers."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.shells import in_bash, in_fish, in_zsh

pytestmark = pytest.mark.processes


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["plan", "llama-3.3-7"], ["llama-3.3-70b", "llama-3.3-70b-fp8"]),
        (["plan", "Qwen/QwQ"], ["Qwen/QwQ-32B"]),
        (["plan", "llama-70b", "--gpus", "2x8xGB2"], ["2x8xGB200"]),
        (["plan", "llama-70b", "--gpus", "2xGB2"], ["2xGB200", "2xGB200-NVL72"]),
        (["show", "GB200"], ["GB200", "GB200-NVL72"]),
        (["plan", "llama-70b", "--gpus", "au"], ["auto"]),
        (["plan", "llama-70b", "--backend", "v"], ["vllm"]),
        (["plan", "llama-70b", "--interconnect", "nvl7"], ["nvl72-gen5"]),
        (["plan", "llama-70b", "--network", "ethernet-1"], ["ethernet-100g"]),
        (["stop", "--name", "wee"], []),
    ],
)
def test_what_is_known_is_offered(tmp_path: Path, words: list[str], offered: list[str]) -> None:
    """The names of models, GPUs, engines and links."""
    found = in_bash(tmp_path, *words)
    assert set(offered) <= set(found)
    assert all(each.lower().startswith(words[-1].lower()) for each in found)


@pytest.mark.parametrize("tab", [in_bash, in_zsh, in_fish])
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["pl"], ["plan"]),
        (["plan", "llama-70b", "--opt"], ["--optimize"]),
        (["up", "llama-70b", "--gpus", "8xH20"], ["8xH20", "8xH200"]),
    ],
)
def test_every_shell_offers_it(
    tmp_path: Path, tab: Callable[..., list[str]], words: list[str], offered: list[str]
) -> None:
    """Commands, options, and values of options."""
    found = tab(tmp_path, *words)
    assert set(offered) <= set(found)
    assert all(each.startswith(words[-1]) for each in found)
