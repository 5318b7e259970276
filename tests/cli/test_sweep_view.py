"""A sweep as a terminal shows it."""

from io import StringIO
from pathlib import Path

from rich.console import Console

from tests.harness.plans import small_plan
from tests.harness.sweeps import sweep
from tpdeploy.cli.views.sweep import show_sweep
from tpdeploy.harness.measure.sweep import SweepReport
from tpdeploy.planner.workload import Target, Workload

SHOWN = """\
SmolLM2-135M-Instruct at http://127.0.0.1:8000
  16 tokens in, 4 out

  in flight                         predicted  measured  target        range
          1  TTFT p50, ms  50.0 (25.0 to 100)       100     200  pass
             TPOT p50, ms  10.0 (5.0 to 20.0)      10.0       -
             tokens/s out   100 (50.0 to 200)       100       -
          8  TTFT p50, ms  50.0 (25.0 to 100)       300     200  fail  above
             TPOT p50, ms  10.0 (5.0 to 20.0)      10.0       -
             tokens/s out   100 (50.0 to 200)       190       -

  5 of 6 figures in the predicted range.
  Most: 190 output tokens/s, at 8 in flight.
  Knee: 1 in flight (the last load before one more request in flight adds less
  than half of the output tokens/s that each had at the lightest load).
  Targets met up to 1 in flight.
  No requests failed.

Report kept in kept.json
Verdict: fail, at 8 in flight
"""


def shown(found: SweepReport) -> str:
    console = Console(width=80, file=StringIO(), highlight=False)
    show_sweep(console, found, Path("kept.json"))
    assert isinstance(console.file, StringIO)
    return "".join(line.rstrip() + "\n" for line in console.file.getvalue().splitlines())


def test_a_sweep_at_80_columns() -> None:
    """Each load with predicted, measured and target, what lies outside, and what all say."""
    assert shown(sweep([(1, 0.1, 100), (8, 0.3, 190)])) == SHOWN


def test_large_figures_at_80_columns() -> None:
    """Rates, and latencies of minutes: nothing is cut off."""
    load = Workload(input_tokens=16, output_tokens=4, rate=5, ttft=Target(ms=60_000))
    text = shown(sweep([(2.5, 45, 25_000), (5, 90, 30_000)], small_plan(load)))
    assert "…" not in text
    assert "Verdict: fail, at 5 requests/s" in text
    assert max(map(len, text.splitlines())) <= 80
