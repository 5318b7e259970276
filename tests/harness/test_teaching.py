"""Only a run of what was planned teaches; every other says why not."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.harness.plans import small_plan
from tests.harness.sweeps import measured
from tpdeploy.harness.load.requests import Draw
from tpdeploy.harness.measure.report import ValidationReport
from tpdeploy.harness.measure.teaching import (
    NOT_KNOWN,
    Kind,
    Launched,
    Sent,
    not_comparable,
    speed_arguments,
    why_not_learned,
)
from tpdeploy.planner.workload import Speculation, Workload

LOAD = Workload(input_tokens=100, output_tokens=4, concurrency=2)
PLAN = small_plan(LOAD)
SENT, RUNNING = Sent(LOAD), Launched(PLAN, "vllm")
HITS = LOAD.model_copy(update={"prefix_hit_rate": 0.7})
DRAFTED = LOAD.model_copy(update={"speculation": Speculation(tokens=3, acceptance=0.6)})
RATE = LOAD.model_copy(update={"concurrency": None, "rate": 3})
WIDER = PLAN.model_copy(update={"limits": PLAN.limits.model_copy(update={"max_num_seqs": 8})})


def test_a_run_of_what_was_planned_teaches() -> None:
    """Under any load of the plan's requests, whatever its targets."""
    for load in (LOAD, RATE, LOAD.model_copy(update={"concurrency": 9})):
        assert why_not_learned(PLAN, RUNNING, Sent(load), failed=0) is None


@pytest.mark.parametrize(
    ("sent", "running", "failed", "kind", "words"),
    [
        (SENT, None, 0, "endpoint", "given by its URL"),
        (SENT, Launched(PLAN, "tensorrt-llm"), 0, "engine", "launched with tensorrt-llm"),
        (SENT, Launched(WIDER, "vllm"), 0, "plan", "another plan (other limits)"),
        (
            *(SENT, Launched(PLAN, "vllm", ("--enforce-eager", "--seed=1")), 0),
            *("engine arguments", "engine arguments that change speed: --enforce-eager"),
        ),
        (Sent(HITS), RUNNING, 0, "prefix hits", "70% of each prompt in the prefix cache"),
        (Sent(DRAFTED), RUNNING, 0, "speculation", "3 drafted tokens, where no drafter"),
        (Sent(DRAFTED), None, 0, "speculation", "drafts of random prompts"),
        (replace(SENT, prompts=Path("real.jsonl")), RUNNING, 0, "prompts", "real.jsonl"),
        (replace(SENT, draw=Draw(shared_prefix=9)), RUNNING, 0, "shared prefix", "share 9 tok"),
        (Sent(RATE, "constant"), RUNNING, 0, "arrivals", "equal distances"),
        (replace(SENT, exact=False), RUNNING, 0, "answer lengths", "cannot be made to keep"),
        (SENT, RUNNING, 2, "failures", "failed requests"),
    ],
)
def test_any_other_run_says_why_it_does_not(
    sent: Sent, running: Launched | None, failed: int, kind: Kind, words: str
) -> None:
    """A kind for programs, and one line for people."""
    found = why_not_learned(PLAN, running, sent, failed)
    assert found is not None
    assert found.kind == kind
    assert words in found.why
    assert "\n" not in found.why


def test_hits_that_were_sent_are_compared() -> None:
    """Prompts of which as much is shared as the plan counts on; those of a file may have them."""
    assert not_comparable(replace(Sent(HITS), draw=Draw(shared_prefix=70)), RUNNING) is None
    assert not_comparable(replace(Sent(HITS), prompts=Path("real.jsonl")), RUNNING) is None
    assert not_comparable(Sent(HITS), RUNNING) is not None
    assert not_comparable(SENT, RUNNING) is None


def test_a_drafter_that_was_started_is_compared() -> None:
    """By an engine argument; that it was given one is still no lesson."""
    running = Launched(PLAN, "vllm", ("--speculative-config", '{"method": "ngram"}'))
    assert not_comparable(Sent(DRAFTED), running) is None
    assert why_not_learned(PLAN, running, Sent(DRAFTED), 0) is not None


def test_arguments_are_read_with_and_without_their_value() -> None:
    """A value on its own is none; underscores are hyphens."""
    given = ["--chat_template", "x.jinja", "--block-size=32", "--load-format=dummy", "-O3"]
    assert speed_arguments(given) == ["--block-size", "-O3"]


def test_reports_of_earlier_versions_are_read_and_teach_nothing() -> None:
    """They said that they may teach without having looked at what ran."""
    content = measured(2, 0.1, 100).model_dump(mode="json", exclude={"not_learned"})
    found = ValidationReport.model_validate({**content, "learnable": True})
    assert found.not_learned == NOT_KNOWN


def test_of_what_earlier_versions_expected_only_windows_are_known() -> None:
    """They kept no distributions of it, so the report is read as one without a prediction."""
    content = measured(2, 0.1, 100).model_dump(mode="json")
    windows = {"window_s": 10, "windows": [], "e2e_ms": {}, "peak_in_flight": 3}
    assert ValidationReport.model_validate({**content, "expected": windows}).expected is None
