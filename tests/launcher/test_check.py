"""A plan for other devices than this machine's is refused before anything starts."""

import pytest

from tests.launcher.plans import plan_for
from tpdeploy.errors import InputError
from tpdeploy.launcher.runtimes import machine
from tpdeploy.profiles.machine.gpus_spec import parse_gpus


def refusal(monkeypatch: pytest.MonkeyPatch, gpus: str, here: str) -> str:
    monkeypatch.setattr(machine, "detect", lambda: parse_gpus(here))
    with pytest.raises(InputError) as caught:
        machine.check_machine(plan_for(gpus))
    return str(caught.value)


def test_a_plan_for_gpus_on_a_machine_without_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The devices planned for are named, and how to plan for this machine."""
    words = refusal(monkeypatch, "2xH100", here="1xCPU")
    assert "the plan is for 2x H100-SXM-80GB, this machine shows no NVIDIA GPU" in words
    assert words.endswith("--gpus auto")


def test_a_plan_for_more_gpus_than_there_are_names_both_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What vLLM would say after half a minute is said at once."""
    words = refusal(monkeypatch, "4xH100", here="2xH100")
    assert "the plan uses 4 GPUs, this machine shows 2" in words


def test_enough_gpus_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan for two of this machine's four GPUs can be launched."""
    monkeypatch.setattr(machine, "detect", lambda: parse_gpus("4xH100"))
    machine.check_machine(plan_for("2xH100"))
