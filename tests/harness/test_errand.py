"""A measurement that another tpdeploy does, told in lines."""

from dataclasses import replace

import pytest

from tests.harness.plans import small_plan
from tests.harness.standin import StandIn, serving
from tpdeploy.errors import InputError
from tpdeploy.harness.load.recorder import Progress
from tpdeploy.harness.measure.errand import Errand, run, told
from tpdeploy.harness.measure.report import ValidationReport
from tpdeploy.harness.measure.teaching import Launched
from tpdeploy.harness.measure.validation import measurement
from tpdeploy.planner.workload import Workload

LOAD = Workload(input_tokens=16, output_tokens=5, concurrency=3)


def errand(url: str) -> Errand:
    plan = small_plan(LOAD)
    how = measurement(LOAD, requests=6, warm_up=3)
    return Errand(plan, url, how, Launched(plan, plan.backend), api_key="secret")


def test_it_is_done_as_it_would_be_here() -> None:
    """Each request is told, then the report; the server was given the key."""
    lines: list[str] = []
    with serving(StandIn()) as server:
        asked = errand(server.url)
        run(asked.line(), lines.append)
    *progress, report = [told(line) for line in lines]
    assert [each.done for each in progress if isinstance(each, Progress)][-1] == 6
    assert isinstance(report, ValidationReport)
    assert report.plan == asked.plan
    assert report.not_learned is None
    assert server.first.key == "Bearer secret"


def test_what_others_print_is_not_taken_for_it() -> None:
    """Greetings of a shell, or warnings of a library."""
    assert told("Welcome to node 7\n") is None
    assert told("{}") is None


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "is not told as tpdeploy"),
        ('{"api_key": "secret"}', "is not told as tpdeploy"),
        (replace(errand("http://h:1"), version="0.0.1").line(), "was asked by 0.0.1"),
    ],
)
def test_what_is_no_errand_is_refused(line: str, words: str) -> None:
    """In one line, without the key in it."""
    with pytest.raises(InputError, match=words) as refused:
        run(line, print)
    assert "secret" not in str(refused.value)
