"""A day in a terminal, on the page and as a picture; files that are none are refused in a line."""

import io
from functools import cache
from pathlib import Path

import pytest

from tests.cli.commands import refused
from tests.planner.days import day, planned
from tests.planner.inputs import ask
from tpdeploy.cli.output import PlainConsole
from tpdeploy.cli.report import plots, tables
from tpdeploy.cli.report.content import Content
from tpdeploy.cli.views.daily import scale_words
from tpdeploy.cli.views.plan import show_plan
from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.planner.search.search import plan, search
from tpdeploy.planner.workload import Workload

RATES = (1.0, 0.5, 3.0, 9.0, 12.0, 4.0)
ASKED = ("plan", "llama-8b", "--gpus", "4xL40S", "--ttft", "500", "--daily")


@cache
def made() -> DeploymentPlan:
    """A plan for a day of six rates, at two dollars for a GPU-hour."""
    load = Workload(output_tokens=16, concurrency=2)
    inputs = ask("llama-8b", "4xL40S", workload=load, tensor=1, gpu_price_per_hour=2.0)
    found = plan(inputs, search(inputs))
    daily = planned(day(*RATES, headroom=0.2), 4.0, found.parallelism)
    return found.changed(daily=daily)


def shown(width: int, encoding: str = "utf-8") -> str:
    """The plan in a terminal."""
    written = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = PlainConsole(file=written, width=width)
    show_plan(console, made(), Path("p.yaml"), None, pareto=False, everything=False)
    written.flush()
    return written.buffer.getvalue().decode(encoding)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_every_hour_is_a_line_of_the_terminal(width: int) -> None:
    """With its rate, replicas and GPUs; no line is too long."""
    text = shown(width)
    told = text.partition("Next: ")[0]  # whose path is never broken
    assert max(map(len, told.splitlines())) <= width
    hours = [line.split() for line in text.splitlines() if line.startswith("  ") and ":00 " in line]
    assert [row[:4] for row in hours] == [
        ["00:00", "1.0", "1", "1"],
        ["04:00", "0.50", "1", "1"],
        ["08:00", "3.0", "1", "1"],
        ["12:00", "9.0", "3", "3"],
        ["16:00", "12.0", "4", "4"],
        ["20:00", "4.0", "2", "2"],
    ]
    lengths = [len(row[4]) for row in hours]
    assert lengths[0] < lengths[5] < lengths[3] < lengths[4] <= 40


def test_gpu_hours_are_told_in_dollars_too() -> None:
    """Four GPUs for a day; twelve hours with one, four with two, three and four each."""
    lines = " ".join(shown(80).split())
    assert "GPUs at the peak 4 96.0 GPU-hours a day, $192 if fixed" in lines
    assert "GPUs on average 2.0 48.0 GPU-hours a day, $96 if scaled" in lines
    assert "Scaling saves 50% 48.0 GPU-hours a day, $96" in lines
    assert (
        "3.3 with 20% headroom. Scale from 1 to 4 replicas by that rate, and by 57.2 requests"
        in lines
    )


def test_a_flat_day_needs_no_autoscaler() -> None:
    """It is said in place of how to scale."""
    split = made().parallelism
    assert scale_words(planned(day(4.0, 4.0), 4.0, split)).endswith("there is nothing to scale.")


def test_bars_are_drawn_in_any_encoding() -> None:
    """In ASCII where there is no other."""
    row = next(line for line in shown(80, "ascii").splitlines() if "  16:00" in line)
    assert row.endswith("4  " + "#" * 40)


@pytest.mark.slow
def test_the_page_has_the_day_as_a_figure_and_in_words() -> None:
    """Who cannot see it is told the same."""
    content = Content(made(), None, (), (), None, None)  # type: ignore[arg-type]
    plot = plots.day_plot(content)
    assert plot
    assert 'aria-label="day.csv: 4 GPUs at the peak, 2.0 on average; scaling saves 50%"' in plot.svg
    assert plots.day_plot(Content(made().changed(daily=None), None, (), (), None, None)) is None  # type: ignore[arg-type]
    daily = made().daily
    assert daily
    assert len(tables.day_table(daily).rows) == len(RATES)
    assert tables.day_figures(daily, None).rows[0][2] == "96.0 GPU-hours a day if fixed"


def test_a_plan_file_keeps_its_day() -> None:
    """Read back, it is the same."""
    again = DeploymentPlan.model_validate_json(made().model_dump_json())
    assert again.daily == made().daily


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hour,requests_per_second\n0,-1\n", "line 2: requests_per_second -1: need 0 to"),
        ("0,1\n", "need the columns hour and requests_per_second, or a trace"),
        ("hour,requests_per_second\n25:00,1\n", "line 2: hour 25:00: need 0 to 23"),
        ("", "need the columns hour and requests_per_second, or a trace; there are none"),
    ],
)
def test_a_bad_file_is_refused_in_a_line(tmp_path: Path, text: str, said: str) -> None:
    """With exit code 2, as any bad input."""
    path = tmp_path / "day.csv"
    path.write_text(text, encoding="utf-8")
    assert said in refused(*ASKED, str(path))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """It is named."""
    assert "none.csv" in refused(*ASKED, str(tmp_path / "none.csv"))
