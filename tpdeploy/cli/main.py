"""The `tpdeploy` command: finds the command's module, runs it, and shows errors in one line."""

import importlib
import sys
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from tpdeploy import __version__
from tpdeploy.cli.output import print_error
from tpdeploy.errors import TpdeployError

# Each command lives in tpdeploy/cli/<module>.py as `app`, and is imported only when it is run.
COMMANDS = {
    "plan": "plan",
    "explain": "explain",
    "launch": "launch",
    "status": "status",
    "logs": "logs",
    "stop": "stop",
    "query": "query",
    "validate": "validate",
    "calibrate": "calibrate",
    "history": "history",
    "backtest": "backtest",
    "backends": "backends",
}


class LazyCommands(TyperGroup):
    """The commands of COMMANDS, each imported at first use."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names in the order a user meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command called `cmd_name`, or None."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"tpdeploy.cli.{COMMANDS[cmd_name]}")
        command = get_command(module.app)
        command.name = cmd_name
        return command


app = typer.Typer(
    cls=LazyCommands,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Plan, launch and validate tensor-parallel LLM serving on your own GPUs.",
)


@app.callback(invoke_without_command=True)
def root(
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> None:
    """Plan, launch and validate tensor-parallel LLM serving on your own GPUs."""
    if version:
        typer.echo(f"tpdeploy {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line; errors of ours are one line on stderr and an exit code."""
    try:
        app()
    except TpdeployError as error:
        print_error(str(error))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print_error("interrupted")
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(141)
