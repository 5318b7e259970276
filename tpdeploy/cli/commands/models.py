"""`tpdeploy models`: every model that is known."""

from typing import Annotated

import typer

from tpdeploy.cli.output import out, print_json
from tpdeploy.cli.views.known import show_models
from tpdeploy.profiles.listing import known_models

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command("models")
def list_models(
    word: Annotated[str, typer.Argument(help="Only those with this text in a name.")] = "",
    *,
    json: Annotated[bool, typer.Option("--json", help="Print everything known as JSON.")] = False,
) -> None:
    """List the bundled models; any other is planned from its config.json."""
    found = known_models(word)
    if json:
        print_json(found)
    else:
        show_models(out, found.models)
