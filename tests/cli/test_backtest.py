"""`tpdeploy backtest` as a user meets it."""

import csv
import json
from pathlib import Path

from tests.cli.commands import answered, refused
from tests.harness.runs import PLAIN, run, write_runs


def test_the_errors_are_shown_by_group(tmp_path: Path) -> None:
    """Every grouping has its table, and rows without a prediction their reason."""
    path = write_runs(tmp_path / "runs.csv", run(), run(gpu="H1000", tp="2"))
    shown = answered("backtest", str(path))
    for words in ("Engine", "GPU", "Model", "TP", "median", "in range", "1/2"):
        assert words in shown
    assert "Not predicted: 1 rows" in shown
    assert "1: unknown GPU H1000" in shown


def test_throughput_is_held_against_too(tmp_path: Path) -> None:
    """Where rows state tokens/s, that is compared, and what no row states is not shown."""
    alone = {**run(ttft_ms="", tpot_ms=""), "output_tokens_per_s": "900", "server": "no"}
    path = write_runs(tmp_path / "runs.csv", alone)
    shown = answered("backtest", str(path))
    assert "tok/s" in shown
    assert "TTFT" not in shown.split("\n\n", 1)[1]
    summary = json.loads(answered("backtest", str(path), "--json"))
    assert summary["groups"][0]["output_tokens_per_s"]["rows"] == 1


def test_every_row_keeps_its_place_and_columns(tmp_path: Path) -> None:
    """The rows as they were, then the prediction or the reason."""
    first = {"id": "a", **PLAIN, "note": "kept"}
    path = write_runs(tmp_path / "runs.csv", first, {**first, "id": "b", "tp": "x"})
    answered("backtest", str(path), "--out", str(tmp_path / "predictions.csv"))
    with (tmp_path / "predictions.csv").open(newline="") as file:
        header, *lines = csv.reader(file)
    added = ["predicted_ttft_ms", "predicted_tpot_ms", "predicted_output_tokens_per_s"]
    assert header == [*first, *added, "source", "error"]
    good, bad = (dict(zip(header, line, strict=True)) for line in lines)
    assert {name: good[name] for name in first} == first
    assert all(float(good[name]) > 0 for name in added)
    assert good["source"].startswith("model")
    assert good["error"] == ""
    assert bad["id"] == "b"
    assert bad["error"] == "tp 'x': need a whole number from 1 to 100,000"
    assert {bad[name] for name in (*added, "source")} == {""}


def test_predictions_can_be_predicted_again(tmp_path: Path) -> None:
    """Columns of an earlier prediction are replaced, not doubled."""
    path, again = tmp_path / "predictions.csv", tmp_path / "again.csv"
    runs = write_runs(tmp_path / "runs.csv", run())
    answered("backtest", str(runs), "--out", str(path))
    answered("backtest", str(path), "--out", str(again))
    assert again.read_text() == path.read_text()


def test_json_is_the_summary(tmp_path: Path) -> None:
    """The figures of every group, under their names."""
    path = write_runs(tmp_path / "runs.csv", run(), run(engine="sglang"))
    summary = json.loads(answered("backtest", str(path), "--json"))
    everything, *others = summary["groups"]
    assert (everything["by"], everything["rows"], everything["predicted"]) == ("all", 2, 2)
    assert everything["tpot"]["median_absolute_percent"] > 0
    assert {group["by"] for group in others} == {"engine", "gpu", "model", "tp"}


def test_what_is_no_table_of_runs_is_refused_in_one_line(tmp_path: Path) -> None:
    """Exit code 2 for a folder, a missing file, an empty one, and one without the columns."""
    (tmp_path / "empty.csv").touch()
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    assert "cannot read" in refused("backtest", str(tmp_path))
    assert "cannot read" in refused("backtest", str(tmp_path / "none.csv"))
    assert "is empty" in refused("backtest", str(tmp_path / "empty.csv"))
    assert "lacks the columns model" in refused("backtest", str(tmp_path / "other.csv"))


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """Exit code 1, in one line."""
    path = write_runs(tmp_path / "runs.csv", run())
    assert "cannot write" in refused("backtest", str(path), "--out", "/proc/x/p.csv", code=1)
