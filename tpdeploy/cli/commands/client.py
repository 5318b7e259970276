"""`tpdeploy client`: the measuring client of `validate --inside`, on a machine near the engines."""

import os
import sys
import threading

import typer

from tpdeploy.harness.measure.errand import run

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def client() -> None:
    """Run the measurement that standard input describes, and print progress and result.

    It ends when the input does: whoever asked is gone.
    """
    line = sys.stdin.readline()
    threading.Thread(target=_end_with_input, daemon=True).start()
    run(line, lambda said: print(said, flush=True))


def _end_with_input() -> None:
    # Not by sys.stdin, whose lock a thread would still hold when this process ends by itself.
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os._exit(1)
