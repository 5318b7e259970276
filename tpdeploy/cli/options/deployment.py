"""The option that names a deployment."""

from typing import Annotated

import typer

from tpdeploy.cli.options import completion

Name = Annotated[
    str | None,
    typer.Option(
        help="Which deployment. [default: the only running one]",
        autocompletion=completion.deployments,
    ),
]
