"""`tpdeploy launch` where a cluster runs all of it: printed, or handed over and followed."""

import signal
import time
from collections.abc import Callable
from pathlib import Path

import typer

from tpdeploy.cli.output import err, print_always, print_json
from tpdeploy.cli.views.launch import Watcher
from tpdeploy.errors import TpdeployError
from tpdeploy.files import write_whole
from tpdeploy.launcher.access import read_keys
from tpdeploy.launcher.launch import one_at_a_time
from tpdeploy.launcher.orchestrated import end, look
from tpdeploy.launcher.orchestrators.base import Orchestrator, Task
from tpdeploy.launcher.state import Deployment, load
from tpdeploy.launcher.submission import begin, follow
from tpdeploy.profiles.record import Record

ATTEND_EVERY_S = 5.0


class DryManifest(Record):
    """What a launch would hand over."""

    manifest: str
    notes: tuple[str, ...]


def show_manifest(
    orchestrator: Orchestrator, task: Task, output: Path | None, *, as_json: bool
) -> None:
    """The manifest alone on stdout, or in a file; what has to be known of it on stderr."""
    made = orchestrator.render(task)
    if as_json:
        print_json(DryManifest(manifest=made.text, notes=made.notes))
        return
    for note in made.notes:
        err.print(note, soft_wrap=True, markup=False, highlight=False)
    if output:
        write_whole(output, made.text)
        err.print(f"Written: {output}", soft_wrap=True, markup=False)
    else:
        typer.echo(made.text, nl=False)


def submit(
    orchestrator: Orchestrator,
    task: Task,
    say_start: Callable[[], None],
    tell: Callable[[Deployment], None],
    *,
    detach: bool,
) -> None:
    """Hand it over, show the way to readiness, `tell`, and stay unless it is to be left alone."""
    with one_at_a_time():
        orchestrator.check(task)
        say_start()
        # Ended in another way than by Ctrl-C, it ends what it started all the same.
        for number in (signal.SIGTERM, *(() if detach else (signal.SIGHUP,))):
            signal.signal(number, signal.default_int_handler)
        deployment = begin(orchestrator, task)
    if task.order.generate_key and task.order.key_file:
        (key,) = read_keys(task.order.key_file)
        print_always(f"Key: {key}\nIt is kept in {task.order.key_file}")
    try:
        with Watcher(err) as watcher:
            deployment = follow(deployment, task.order.startup_timeout_s, watcher.show)
        tell(deployment)
        if not detach:
            _attend(deployment)
    except (KeyboardInterrupt, TpdeployError):
        err.print("Stopping")
        end(deployment)
        raise


def _attend(deployment: Deployment) -> None:
    """Stay until Ctrl-C, or until somebody else has ended it; say what happens to it."""
    err.print("Ctrl-C stops it.")
    told = deployment.phase
    while True:
        time.sleep(ATTEND_EVERY_S)
        try:
            deployment = look(deployment)
        except TpdeployError as error:
            deployment = deployment.changed(phase="down", reason=str(error))
        if deployment.phase != told:
            told = deployment.phase
            reason = f": {deployment.reason}" if deployment.reason else ""
            err.print(f"{told}{reason}", markup=False)
        if deployment.phase == "failed":
            time.sleep(ATTEND_EVERY_S)  # a stop may not be through with it
            deployment = load(deployment.name) or deployment
        if deployment.phase == "failed":
            raise TpdeployError(f"deployment {deployment.name} has failed: {deployment.reason}")
        if deployment.ended:
            return
