"""`tpdeploy compare`: several answers side by side."""

import json
from pathlib import Path

import pytest

from tests.cli.commands import answered, refused, tpdeploy


def test_widths_are_compared_with_the_load_at_which_the_answer_turns() -> None:
    """One row each, the best first in words; replicas win under a heavier load."""
    shown = answered("compare", "llama-70b", "--gpus", "8xH100", "--tp", "4,8", width=80)
    lines = shown.splitlines()
    assert lines[0].startswith("TP 8 serves most: ")
    assert lines[0].endswith("more tokens/s than the next.")
    assert [line.split()[:2] for line in lines[2:4]] == [["TP", "4"], ["TP", "8"]]
    assert "requests in flight TP 8 serves most, from" in shown
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("width", [50, 80, 120])
@pytest.mark.slow
def test_rows_fit_the_terminal(width: int) -> None:
    """Without bars where there is no room for them."""
    args = ("compare", "llama-8b,qwen3-8b", "--gpus", "2xL40S", "--backend", "vllm")
    rows = [line for line in answered(*args, width=width).splitlines() if "TP 2 x 1" in line]
    assert len(rows) == 2
    assert width < 80 or all("█" in row for row in rows)


def test_what_is_not_feasible_is_named_with_its_reason() -> None:
    """The others are compared; if none is feasible, that is the answer."""
    shown = answered("compare", "llama-70b", "--gpus", "1xL40S,8xH100", width=300)
    assert shown.startswith("Only 8xH100 is feasible.")
    assert "1xL40S: meta-llama/Llama-3.3-70B-Instruct does not run on 1xL40S" in shown
    none = refused("compare", "llama-70b", "--gpus", "1xL40S,1x4090", code=3)
    assert none == "Error: none of these is feasible"


@pytest.mark.slow
def test_json_has_every_plan(tmp_path: Path) -> None:
    """By its name; and no plan is remembered for launch."""
    args = ("compare", "llama-8b", "--gpus", "2xH100", "--backend", "vllm,tensorrt-llm", "--json")
    found = json.loads(tpdeploy(*args, home=tmp_path).stdout)
    assert [each["name"] for each in found["compared"]] == ["vllm", "tensorrt-llm"]
    assert all(each["plan"]["prediction"] for each in found["compared"])
    assert not (tmp_path / "plan.yaml").exists()


@pytest.mark.slow
def test_a_price_is_told_of_each() -> None:
    """Dollars per million output tokens."""
    args = ("compare", "llama-70b", "--gpus", "8xH100,8xH200", "--gpu-price", "2", "--rate", "2")
    assert "$/M tokens" in answered(*args, width=120)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--gpus", "8xH100"], "two or more models, GPUs, engines or widths"),
        (["--gpus", "8xH100,"], "--gpus '8xH100,': give one or several"),
        (["--gpus", "8xH100", "--tp", "4,x"], "--tp 4,x: give whole numbers"),
        (["--gpus", "8xH100,8xFOO"], "unknown GPU FOO"),
        (["--gpus", "8xH100,8xH200", "--concurrency", "0"], "concurrency 0: must be"),
    ],
)
def test_what_cannot_be_compared(args: list[str], words: str) -> None:
    """One clear line."""
    assert words in refused("compare", "llama-70b", *args)


@pytest.mark.parametrize(
    ("option", "value"), [("--input-tokens", "many"), ("--concurrency", "0"), ("--gpu-price", "-1")]
)
def test_a_value_that_cannot_work_is_named_as_an_option(option: str, value: str) -> None:
    """As it was typed."""
    line = refused("compare", "llama-8b", "--gpus", "1xH100,1xH200", option, value)
    assert line.startswith(f"Error: {option} {value}: ")
