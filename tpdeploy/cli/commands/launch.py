"""`tpdeploy launch`: start the engine with exactly the plan."""

import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from socket import socket
from typing import Any

import typer

from tpdeploy.backends.registry import load_backend
from tpdeploy.cli.commands.dry_run import show_commands
from tpdeploy.cli.commands.submitted import show_manifest, submit
from tpdeploy.cli.options import launch as given
from tpdeploy.cli.options.quiet import Quiet
from tpdeploy.cli.output import err, out, print_always, print_json
from tpdeploy.cli.planfile import read_plan
from tpdeploy.cli.views.launch import Watcher
from tpdeploy.cli.views.start import show_start
from tpdeploy.errors import InputError, TpdeployError
from tpdeploy.launcher.access import client_key, generated_file, read_keys
from tpdeploy.launcher.commands import Order
from tpdeploy.launcher.control import follow, stop
from tpdeploy.launcher.launch import (
    begin,
    check,
    check_here,
    choose_port,
    one_at_a_time,
    prepared,
    until_ready,
)
from tpdeploy.launcher.orchestrators.base import Task
from tpdeploy.launcher.orchestrators.registry import orchestrator_for
from tpdeploy.launcher.runtimes.ports import FIRST_PORT, LOOPBACK
from tpdeploy.launcher.runtimes.processes import Leader, this_process
from tpdeploy.launcher.state import DEFAULT_NAME, Deployment, folder_of
from tpdeploy.launcher.systemd import Scope, install, started
from tpdeploy.planner.plan import DeploymentPlan

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def launch(
    context: typer.Context,
    plan: given.Plan = None,
    *,
    backend: given.Backend = None,
    port: given.Port = None,
    host: given.Host = LOOPBACK,
    insecure: given.Insecure = False,
    api_key_file: given.ApiKeyFile = None,
    generate_key: given.GenerateKey = False,
    tls_cert: given.TlsCert = None,
    tls_key: given.TlsKey = None,
    metrics: given.Metrics = False,
    name: given.Name = DEFAULT_NAME,
    detach: given.Detach = False,
    systemd: given.Systemd = None,
    dry_run: given.DryRun = False,
    output: given.Output = None,
    force: given.Force = False,
    executable: given.Executable = None,
    python: given.Python = None,
    container: given.Container = None,
    on: given.On = "local",
    sbatch: given.Sbatch = None,
    namespace: given.Namespace = None,
    volume: given.Volume = None,
    format_: given.Format = None,
    autoscale: given.Autoscale = None,
    prometheus: given.Prometheus = None,
    engine_arg: given.EngineArg = None,
    startup_timeout: given.StartupTimeout = 1200.0,
    hang_timeout: given.HangTimeout = 120.0,
    restarts: given.Restarts = 10,
    json: given.Json = False,
    quiet: Quiet = False,
) -> None:
    """Start every replica of the plan, and the front that clients reach; Ctrl-C ends everything.

    Clients need a key if TPDEPLOY_API_KEY holds one, or one is generated or read from a file.
    """
    tell = print_json if json else _show_ready
    carry_out(read_plan(plan), context.params, lambda: plan, lambda ready, _: tell(ready))


def carry_out(
    plan: DeploymentPlan,
    asked: Mapping[str, Any],
    keep: Callable[[], Path | None],
    tell: Callable[[Deployment, Order], None],
) -> None:
    """Start `plan` as the options of the command say, or show what would be started.

    `keep` gives the plan's file once nothing stands in the way of a start, and `tell` shows what is
    ready.
    """
    orchestrator = orchestrator_for(asked["on"])
    # A port of the cluster is nobody's here.
    cluster_port = asked["port"] or FIRST_PORT, socket()
    port, hold = cluster_port if orchestrator else choose_port(asked["host"], asked["port"])
    engine = load_backend(asked["backend"] or plan.backend)
    order = _order_of(asked, engine.name, port)
    check(plan, engine, order)
    shows, as_json = asked["dry_run"] or asked["output"], asked["json"]
    scope = asked["systemd"]
    if orchestrator:
        if scope:
            raise InputError(f"--systemd: {orchestrator.name} supervises it by itself")
        task = Task(plan, engine, order)
        if shows:
            return show_manifest(orchestrator, task, asked["output"], as_json=as_json)
        return submit(
            orchestrator,
            task,
            lambda: show_start(err, plan, order, keep(), ()),
            lambda ready: tell(ready, order),
            detach=asked["detach"],
        )
    if shows:
        return show_commands(plan, engine, order, scope, asked["output"], as_json=as_json)
    with one_at_a_time():
        found = check_here(plan, engine, order, insist=asked["force"])
        show_start(err, plan, order, keep(), found)
        supervisor = _started(plan, order, hold, scope)
    return _stay(order, supervisor, lambda ready: tell(ready, order))


def _order_of(asked: Mapping[str, Any], backend: str, port: int) -> Order:
    """What the options of the command come to."""
    in_cluster = {
        "namespace": asked["namespace"],
        "volume": asked["volume"],
        "format": asked["format_"],
        "prometheus": asked.get("prometheus"),
    }
    return Order(
        name=asked["name"],
        backend=backend,
        host=asked["host"],
        port=port,
        executable=_whole(asked["executable"]),
        python=_whole(asked["python"]),
        container=asked["container"],
        on=asked["on"],
        on_options=_on_options(asked["on"], asked["sbatch"], in_cluster, asked.get("autoscale")),
        startup_timeout_s=asked["startup_timeout"],
        hang_timeout_s=asked["hang_timeout"],
        restarts=asked["restarts"],
        engine_args=tuple(asked["engine_arg"] or ()),
        keyed=client_key() is not None,
        key_file=_key_file(
            asked["name"], asked["api_key_file"], generate_key=asked["generate_key"]
        ),
        generate_key=asked["generate_key"],
        tls_cert=_whole(asked["tls_cert"]),
        tls_key=_whole(asked["tls_key"]),
        metrics=asked["metrics"],
        insecure=asked["insecure"],
        owner=None if asked["detach"] or asked["systemd"] else this_process(),
    )


def _on_options(
    on: str,
    sbatch: list[str] | None,
    in_cluster: Mapping[str, str | None],
    autoscale: str | None,
) -> tuple[str, ...]:
    """What is passed to what runs it, which must be what the options are for."""
    name = on.partition(":")[0]
    if sbatch and name != "slurm":
        raise InputError("--sbatch is for --on slurm")
    given_ = {option: value for option, value in in_cluster.items() if value is not None}
    if given_ and name != "kubernetes":
        raise InputError(f"--{min(given_)} is for --on kubernetes")
    if autoscale is not None:
        if name not in {"kubernetes", "ray"}:
            raise InputError("--autoscale is for --on kubernetes or --on ray")
        given_["autoscale"] = autoscale
    return (*(sbatch or ()), *(f"{option}={value}" for option, value in given_.items()))


def _started(plan: DeploymentPlan, order: Order, hold: socket, scope: Scope | None) -> Leader:
    """Its supervisor, from here, or from a service that is installed for it."""
    if scope is None:
        return begin(plan, order, hold)
    with prepared(plan, order):
        hold.close()
    path = install(order, plan.model.id, scope)
    err.print(f"Service: {path}", soft_wrap=True, markup=False)
    return started(order.name)


def _key_file(name: str, stated: Path | None, *, generate_key: bool) -> Path | None:
    if generate_key and stated:
        raise InputError("--generate-key and --api-key-file: choose one")
    if generate_key:
        return generated_file(folder_of(name))
    return _whole(stated)


def _whole(path: Path | str | None) -> Path | None:
    """The path as the supervisor finds it, from wherever it runs; typer may hand over its text."""
    return Path(path).absolute() if path else None


def _show_ready(deployment: Deployment) -> None:
    out.print(f"Ready: {deployment.model} at {deployment.url}/v1", soft_wrap=True)
    if deployment.orchestrator:
        err.print("From here it is reached by query and validate.")


def _stay(order: Order, supervisor: Leader, tell: Callable[[Deployment], None]) -> None:
    """Show the way to readiness, `tell` when it is ready, and stay unless it belongs to nobody."""
    detach = order.owner is None
    # Ended in another way than by Ctrl-C, it ends what it started all the same; what is to stay
    # survives the terminal.
    for number in (signal.SIGTERM, *(() if detach else (signal.SIGHUP,))):
        signal.signal(number, signal.default_int_handler)
    if order.generate_key and order.key_file:
        (key,) = read_keys(order.key_file)
        print_always(f"Key: {key}\nIt is kept in {order.key_file}")
    try:
        with Watcher(err) as watcher:
            deployment = until_ready(order.name, supervisor, watcher.show)
        tell(deployment)
        if not detach:
            _attend(order.name, supervisor)
    except KeyboardInterrupt:
        err.print("Stopping")
        stop(order.name)
        raise


def _attend(name: str, supervisor: Leader) -> None:
    """Stay until the deployment ends; say what happens to it."""
    err.print("Ctrl-C stops it.")
    told = ["ready"]

    def tell(deployment: Deployment) -> None:
        reason = f": {deployment.reason}" if deployment.reason else ""
        words = f"{deployment.phase}{reason}"
        if words != told[-1]:
            told.append(words)
            err.print(words, markup=False)

    last = follow(name, supervisor, lambda _: False, tell)
    if last.phase == "failed":
        raise TpdeployError(f"deployment {name} has failed: {last.reason}")
