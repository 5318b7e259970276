"""Backtest: predict measured serving runs one by one, and compare."""

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from pydantic import ValidationError

from tpdeploy.errors import TpdeployError, shown
from tpdeploy.harness.backtest.rows import Case, Reading, case_of
from tpdeploy.harness.backtest.table import Row
from tpdeploy.planner.plan import Estimate
from tpdeploy.planner.search.evaluation import Candidate, evaluate
from tpdeploy.profiles.machine.cores import usable_cores

# Below this many rows one process is done before a second one is at work.
ROWS_A_PROCESS = 100
ROWS_A_TURN, MOST_ROWS_A_TURN = 8, 500


@dataclass(frozen=True)
class Compared:
    """A predicted figure with its range, and the measured one where the run states it."""

    predicted: float
    low: float
    high: float
    measured: float | None

    @property
    def relative_error(self) -> float | None:
        """Predicted / measured - 1."""
        return None if self.measured is None else self.predicted / self.measured - 1

    @property
    def in_range(self) -> bool:
        """Whether what was measured lies in the predicted range."""
        return self.measured is not None and self.low <= self.measured <= self.high


@dataclass(frozen=True)
class Predicted:
    """The prediction for one run: mean latencies (ms), and tokens/s of all replicas."""

    ttft: Compared
    tpot: Compared
    output_tokens_per_s: Compared
    source: str


@dataclass(frozen=True)
class Failed:
    """Why one run cannot be predicted."""

    reason: str


Result = Predicted | Failed


def predict_row(row: Row) -> Result:
    """The prediction for the run of a row, or why there is none."""
    try:
        return predict_case(case_of(row))
    except TpdeployError as error:
        return Failed(str(error))
    except ValidationError as error:
        first = error.errors()[0]
        return Failed(f"{'.'.join(map(str, first['loc']))} {shown(first['input'])}: {first['msg']}")
    except (ArithmeticError, ValueError) as error:
        # Each number is possible and all together are not: the row is lost, not the table.
        return Failed(f"its numbers lead nowhere: {shown(error)}")


def predict_case(case: Case) -> Result:
    """The mean TTFT and TPOT of the first reading that can be predicted; else why none can."""
    reasons = []
    for reading in case.readings:
        answer = evaluate(reading.inputs, reading.parallelism)
        if isinstance(answer, Candidate):
            return _predicted(case, reading, answer)
        reasons.append(answer.reason)
    return Failed(reasons[0])


def predict_rows(
    rows: Sequence[Row], on_progress: Callable[[], object] = lambda: None
) -> tuple[Result, ...]:
    """The predictions for all rows, in their order, computed on all cores."""
    results = []
    workers = min(len(usable_cores()), len(rows) // ROWS_A_PROCESS)
    if workers < 2:
        for row in rows:
            results.append(predict_row(row))
            on_progress()
        return tuple(results)
    with ProcessPoolExecutor(workers) as pool:
        for result in pool.map(predict_row, rows, chunksize=_rows_a_turn(len(rows))):
            results.append(result)
            on_progress()
    return tuple(results)


def _rows_a_turn(rows: int) -> int:
    """Rows per task: few, so that no process works on alone; more where there are many rows."""
    return max(ROWS_A_TURN, min(MOST_ROWS_A_TURN, rows // 1000))


def _predicted(case: Case, reading: Reading, answer: Candidate) -> Predicted:
    told = answer.prediction
    return Predicted(
        ttft=_compared(told.ttft_ms, told.ttft_distribution.mean, case.ttft_ms),
        tpot=_compared(told.tpot_ms, told.tpot_distribution.mean, case.tpot_ms),
        output_tokens_per_s=_compared(
            told.output_tokens_per_s, told.output_tokens_per_s.value, case.output_tokens_per_s
        ),
        source="; ".join((told.ttft_ms.source, *reading.assumed)),
    )


def _compared(estimate: Estimate, value: float, measured: float | None) -> Compared:
    """The value with a range as wide, relative to it, as that of `estimate`.

    An answer of one token has no time between tokens, whatever was measured.
    """
    if not estimate.value:
        return Compared(0.0, 0.0, 0.0, None)
    scale = value / estimate.value
    return Compared(value, estimate.low * scale, estimate.high * scale, measured)
