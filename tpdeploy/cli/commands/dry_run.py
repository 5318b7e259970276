"""`tpdeploy launch --dry-run`: the commands of every member, as they would be, and the service."""

import shlex
from pathlib import Path

import typer

from tpdeploy.backends.base import Backend
from tpdeploy.cli.output import err, print_json
from tpdeploy.files import write_whole
from tpdeploy.launcher.commands import Order, front_command, replica_commands
from tpdeploy.launcher.runtimes.script import written
from tpdeploy.launcher.systemd import Scope, unit, unit_name
from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.profiles.record import Record


class DryCommand(Record):
    """One command a launch would run; the rest of its environment is the user's own."""

    member: str
    files: dict[str, str]
    env: dict[str, str]
    argv: tuple[str, ...]


class DryRun(Record):
    """The commands a launch would run."""

    commands: tuple[DryCommand, ...]


def show_commands(
    plan: DeploymentPlan,
    engine: Backend,
    order: Order,
    scope: Scope | None,
    output: Path | None,
    *,
    as_json: bool,
) -> None:
    """Print them, or write them to `output`."""
    replicas = replica_commands(plan, engine, order)
    front = front_command(plan, engine, order, [r.member for r in replicas])
    found = [
        DryCommand(
            member=c.member.label,
            files={str(path): text for path, text in c.files.items()},
            env=dict(c.env),
            argv=c.argv,
        )
        for c in (*replicas, front)
    ]
    if as_json:
        print_json(DryRun(commands=tuple(found)))
        return
    text = "".join(map(_shown, found))
    if scope:
        text += f"# {unit_name(order.name)}\n{unit(order, plan.model.id, scope)}\n"
    if output:
        write_whole(output, text)
        err.print(f"Written: {output}", soft_wrap=True, markup=False)
    else:
        typer.echo(text, nl=False)


def _shown(command: DryCommand) -> str:
    """The command as one could type it, its files and its environment first."""
    env = [f"{name}={shlex.quote(value)}" for name, value in command.env.items()]
    typed = " ".join([*env, shlex.join(command.argv)])
    return f"# {command.member}\n{written(command.files)}{typed}\n\n"
