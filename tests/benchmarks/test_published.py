"""The published runs that come with the repository are met as the docs say, on a sample of them."""

from pathlib import Path

import pytest

from tpdeploy.harness.backtest.prediction import predict_rows
from tpdeploy.harness.backtest.summary import Errors, summarise
from tpdeploy.harness.backtest.table import read_rows

PUBLISHED = Path(__file__).parents[2] / "benchmarks" / "published"


@pytest.mark.parametrize(
    ("table", "every", "most_percent"),
    [
        ("serving.csv", 16, {"ttft": 30, "tpot": 12}),
        ("tensorrt-llm-offline.csv", 6, {"output_tokens_per_s": 12}),
        ("tensorrt-llm-static.csv", 1, {"ttft": 8, "output_tokens_per_s": 13}),
    ],
)
def test_published_runs_are_met(table: str, every: int, most_percent: dict[str, float]) -> None:
    """Median errors a little above those of all rows; a wrong factor anywhere shows."""
    rows = read_rows(PUBLISHED / table).rows[::every]
    everything = summarise(table, rows, predict_rows(rows)).groups[0]
    assert everything.predicted >= 0.98 * everything.rows
    for name, most in most_percent.items():
        errors = getattr(everything, name)
        assert isinstance(errors, Errors)
        assert errors.median_absolute_percent <= most
        assert errors.in_range_percent >= 68
