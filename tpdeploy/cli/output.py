"""How the command line writes: results to stdout, everything else to stderr."""

import sys

from pydantic import BaseModel
from rich.console import Console

out = Console(highlight=False, soft_wrap=False)
err = Console(stderr=True, highlight=False)


def print_json(result: BaseModel) -> None:
    """Write a result as indented JSON on stdout, untouched by terminal width or colour."""
    sys.stdout.write(result.model_dump_json(indent=2) + "\n")


def print_error(message: str) -> None:
    """Write one error line on stderr."""
    err.print("Error:", style="bold red", end=" ", soft_wrap=True)
    err.print(message, markup=False, soft_wrap=True)
