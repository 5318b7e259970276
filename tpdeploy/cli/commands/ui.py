"""`tpdeploy ui`: the planner as a web page on this machine."""

import webbrowser
from typing import Annotated

import typer

from tpdeploy.cli.output import err, out
from tpdeploy.cli.ui.server import server

app = typer.Typer(add_completion=False, rich_markup_mode=None)

FREE = 0


@app.command()
def ui(
    *,
    port: Annotated[
        int, typer.Option(help="Port of the page. [default: any free one]", min=0, max=65535)
    ] = FREE,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open it in the browser.")
    ] = True,
) -> None:
    """Plan on a web page: a form, the answer while you change it, and the command to copy.

    It listens on 127.0.0.1 only. Nothing is saved or started; Ctrl-C ends it.
    """
    with server("127.0.0.1", port) as serving:
        address = f"http://127.0.0.1:{serving.server_port}/"
        out.print(address, soft_wrap=True)
        err.print("Ctrl-C ends it.")
        if browser:
            webbrowser.open(address)
        serving.serve_forever()
