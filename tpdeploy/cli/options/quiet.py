"""The option --quiet, of all commands that report progress."""

from typing import Annotated

import typer

from tpdeploy.cli.output import err


def _hush(asked: bool) -> bool:
    """Print nothing on stderr but errors, if that is asked for."""
    err.quiet = asked
    return asked


Quiet = Annotated[
    bool,
    typer.Option("-q", "--quiet", help="Print only the result and errors.", callback=_hush),
]
