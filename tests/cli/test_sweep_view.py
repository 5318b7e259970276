"""A sweep as a terminal shows it."""

from io import StringIO
from pathlib import Path

from rich.console import Console

from tests.harness.sweeps import sweep
from tpdeploy.cli.sweep_view import show_sweep

SHOWN = """\
SmolLM2-135M-Instruct at http://127.0.0.1:8000
  16 tokens in, 4 out

  in flight                             predicted  measured  target  verdict
          1  TTFT p50, ms     50.0 (25.0 to 100)       100     200  pass
             TPOT p50, ms     10.0 (5.0 to 20.0)      10.0       -  no target
             output tokens/s    100 (50.0 to 200)       100       -  no target
          8  TTFT p50, ms     50.0 (25.0 to 100)       300     200  fail
             TPOT p50, ms     10.0 (5.0 to 20.0)      10.0       -  no target
             output tokens/s    100 (50.0 to 200)       190       -  no target

  Most: 190 output tokens/s, at 8 in flight.
  Knee: 1 in flight (the last load before one more request in flight adds less
  than half of the output tokens/s that each had at the lightest load).
  Targets met up to 1 in flight.
  No requests failed.

Report kept in kept.json
Verdict: fail, at 8 in flight
"""


def test_a_sweep_at_80_columns() -> None:
    """Each load with predicted, measured and target, and what they say together."""
    console = Console(width=80, file=StringIO(), highlight=False)
    show_sweep(console, sweep([(1, 0.1, 100), (8, 0.3, 190)]), Path("kept.json"))
    assert isinstance(console.file, StringIO)
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]
    assert [" ".join(line.split()) for line in lines] == [
        " ".join(line.split()) for line in SHOWN.splitlines()
    ]
    assert max(map(len, lines)) <= 80
