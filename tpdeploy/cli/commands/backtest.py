"""`tpdeploy backtest`: hold the planner against measured serving runs."""

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from tpdeploy.cli.output import err, out, print_json
from tpdeploy.cli.views.backtest import show_summary
from tpdeploy.files import write_whole
from tpdeploy.harness.backtest.prediction import Failed, Result, predict_rows
from tpdeploy.harness.backtest.summary import summarise
from tpdeploy.harness.backtest.table import Table, read_rows

app = typer.Typer(add_completion=False, rich_markup_mode=None)

ADDED = (
    "predicted_ttft_ms",
    "predicted_tpot_ms",
    "predicted_output_tokens_per_s",
    "source",
    "error",
)


@app.command()
def backtest(
    file: Annotated[
        Path,
        typer.Argument(
            help="CSV of measured runs: model, gpu, gpu_count, tp, pp, dp, precision, engine, "
            "input_tokens, output_tokens, concurrency, ttft_ms, tpot_ms."
        ),
    ],
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            help="Write a CSV of every row with its prediction, or the reason for none.",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Predict every measured run of FILE; show how far TTFT, TPOT and tokens/s are off."""
    table = read_rows(file)
    with _progress(len(table.rows)) as bar:
        task = bar.add_task("predicting", total=len(table.rows))
        results = predict_rows(table.rows, lambda: bar.advance(task))
    if output is not None:
        write_whole(output, predictions(table, results))
    summary = summarise(str(file), table.rows, results)
    if json:
        print_json(summary)
    else:
        show_summary(out, summary)
        if output is not None:
            out.print(f"\nEvery row with its prediction: {output}", soft_wrap=True)


def predictions(table: Table, results: Sequence[Result]) -> str:
    """The table with ADDED columns at its end; its own columns of these names are replaced."""
    kept = [name for name in table.columns if name not in ADDED]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*kept, *ADDED])
    for row, result in zip(table.rows, results, strict=True):
        writer.writerow([*(row[name] for name in kept), *_added(result)])
    return text.getvalue()


def _added(result: Result) -> tuple[str, ...]:
    if isinstance(result, Failed):
        return ("", "", "", "", result.reason)
    values = (result.ttft, result.tpot, result.output_tokens_per_s)
    return (*(f"{each.predicted:.6g}" for each in values), result.source, "")


@contextmanager
def _progress(total: int) -> Iterator[Bar]:
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    with Bar(*columns, TimeElapsedColumn(), console=err, transient=True) as bar:
        bar.disable = not err.is_terminal or total == 0
        yield bar
