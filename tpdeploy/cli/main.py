"""The `tpdeploy` command: finds the command's module, runs it, and shows errors in one line."""

import gc
import importlib
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from tpdeploy import __version__
from tpdeploy.bounds import MOST_NUMBER
from tpdeploy.cli.output import err, print_error, tolerate_encodings
from tpdeploy.errors import InputError, TpdeployError, nearest, plainly, shown

# A simulation makes many objects that live for long and hardly a cycle. Looked for after every 700
# of them, as Python does it, cycles take a tenth of a plan's time.
OBJECTS_UNTIL_CYCLES = 50_000
# Each command lives in tpdeploy/cli/commands as `app`, and is imported only when it is run. What
# it is for is said here in the few words that the list of commands has room for.
COMMANDS = {
    "up": "Plan, launch, ask a first question, and show how to call it.",
    "plan": "Choose how a model is split over GPUs, and predict its speed.",
    "ui": "Plan on a web page of this machine.",
    "compare": "Show models, GPUs, engines or widths side by side.",
    "explain": "Draw how one layer is split and what its all-reduces carry.",
    "models": "List the models that are bundled.",
    "gpus": "List the GPUs that are known.",
    "interconnects": "List the links between GPUs and machines.",
    "workloads": "List the workloads that plans can be made for.",
    "show": "Show what is known about a model, GPU, link or workload.",
    "doctor": "Check whether this machine can run the plan.",
    "launch": "Start the plan as one OpenAI-compatible endpoint.",
    "status": "Show what the running deployments do now.",
    "logs": "Print the latest log lines of a deployment.",
    "metrics": "Print the configuration for Prometheus or Grafana.",
    "restart": "Restart replicas one after another, while others serve.",
    "scale": "Run more or fewer replicas of the plan.",
    "supervise": "Start a deployment again that was launched before.",
    "stop": "End a deployment, after the requests in flight.",
    "query": "Ask a question.",
    "validate": "Measure latency under the plan's load, and compare.",
    "calibrate": "Measure this machine; later plans use it.",
    "history": "Show what was predicted and measured in every validation.",
    "backtest": "Predict measured runs of a file, and show the errors.",
    "backends": "List engines, and install them.",
}
# What tpdeploy runs on other machines; nobody types it.
INTERNAL = {"client": "Send the requests of a validation, and tell what came back."}
# The parser's own errors; which module has their class differs between releases of typer.
UsageError: type[Any] = typer.BadParameter.__bases__[0]


class LazyCommands(TyperGroup):
    """The commands of COMMANDS, each imported at first use."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names in the order a user meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command called `cmd_name`, or None."""
        if cmd_name not in {**COMMANDS, **INTERNAL}:
            if ctx.resilient_parsing:  # a shell asks what may follow
                return None
            raise InputError(f"no command {shown(cmd_name)!r}; {nearest(cmd_name, COMMANDS)}")
        module = importlib.import_module(f"tpdeploy.cli.commands.{cmd_name}")
        command = get_command(module.app)
        command.name = cmd_name
        command.short_help = {**COMMANDS, **INTERNAL}[cmd_name]
        command.callback = _with_numbers_checked(command)
        return command


app = typer.Typer(
    cls=LazyCommands,
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Plan, launch and validate tensor-parallel LLM serving on your own GPUs.",
)


@app.callback(invoke_without_command=True)
def root(
    version: bool = typer.Option(False, "-V", "--version", help="Print the version and exit."),
) -> None:
    """Plan, launch and validate tensor-parallel LLM serving on your own GPUs."""
    if version:
        typer.echo(f"tpdeploy {__version__}")
        raise typer.Exit


def _with_numbers_checked(command: Any) -> Callable[..., Any]:
    """What `command` runs, with numbers that nobody can mean refused first."""
    run = command.callback
    options = {param.name: param.opts[-1] for param in command.params}

    @wraps(run)
    def checked(**given: Any) -> Any:
        for name, value in given.items():
            if isinstance(value, int | float) and not -MOST_NUMBER <= value <= MOST_NUMBER:
                raise InputError(
                    f"{options[name]} {shown(value)}: must be a finite number below 9e15"
                )
        return run(**given)

    return checked


def main() -> None:
    """Run the command line; errors are one line on stderr and an exit code."""
    tolerate_encodings()
    gc.set_threshold(OBJECTS_UNTIL_CYCLES)
    err.quiet = False
    try:
        sys.exit(app(standalone_mode=False))
    except UsageError as error:
        _show_refusal(error)
        sys.exit(InputError.exit_code)
    except TpdeployError as error:
        print_error(str(error))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print_error("interrupted")
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(141)
    except OSError as error:  # of a disk or folder that changed on the way
        if error.filename is None:
            raise
        print_error(f"{error.filename}: {error.strerror}")
        sys.exit(TpdeployError.exit_code)


def _show_refusal(error: Any) -> None:
    """An error of the parser in one line; the help where no command was given."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return
    said = plainly(error.format_message().rstrip("."))
    if elsewhere := _commands_with(getattr(error, "option_name", None), error.ctx):
        said = f"{plainly(error.message)}, which is one of: tpdeploy {elsewhere}"
    help_of = f"; see: {error.ctx.command_path} --help" if error.ctx else ""
    print_error(said + help_of)


def _commands_with(option: str | None, context: Any) -> str:
    """The commands that have the `option` which this one lacks."""
    if option is None or context is None or context.parent is None:
        return ""
    commands = context.parent.command
    found = [
        name
        for name in COMMANDS
        if any(option in param.opts for param in commands.get_command(context, name).params)
    ]
    return ", ".join(found)
