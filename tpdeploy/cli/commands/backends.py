"""`tpdeploy backends`: the engines, whether they are installed, and installing them."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from tpdeploy.backends.base import Backend, EnvironmentSpec, Platform
from tpdeploy.backends.registry import backend_names, load_backend, load_backends
from tpdeploy.cli.output import err, out, print_json
from tpdeploy.errors import InputError, nearest
from tpdeploy.launcher.environments import (
    chosen,
    find_environment,
    folder_of,
    install,
    missing_libraries,
    of_release,
)
from tpdeploy.launcher.installed import Installation, installations
from tpdeploy.launcher.orchestrators.registry import ORCHESTRATORS
from tpdeploy.profiles.machine.detect import detect
from tpdeploy.profiles.record import Record

app = typer.Typer(add_completion=False, rich_markup_mode=None, invoke_without_command=True)


class Found(Record):
    """An installation of an engine; with an `objection` it is not used unasked."""

    version: str
    environment: Path
    where: str
    objection: str = ""


class EngineStatus(Record):
    """One engine on this machine; `environment` is the one that `launch` uses."""

    name: str
    version: str
    installed: bool
    environment: Path | None = None
    found: tuple[Found, ...] = ()
    missing: tuple[str, ...] = ()
    remedy: str = ""
    verified: str = ""
    legacy: str = ""


class Engines(Record):
    """Every engine."""

    engines: tuple[EngineStatus, ...]


@app.callback()
def backends(
    context: typer.Context,
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """List the engines: installed or not, and the command that installs one."""
    if context.invoked_subcommand:
        return
    platform = _platform(None)
    loaded, broken = load_backends()
    found = [_engine_status(backend, platform) for backend in loaded]
    found += [
        EngineStatus(name=b.name, version="-", installed=False, remedy=f"broken: {b.reason}")
        for b in broken
    ]
    if json:
        print_json(Engines(engines=tuple(found)))
        return
    _show(found)


@app.command("install")
def install_backend(
    name: Annotated[str, typer.Argument(help="An engine.")],
    version: Annotated[
        str | None, typer.Option(help="Another release than the tested one.")
    ] = None,
    platform: Annotated[
        str | None, typer.Option(help="cuda or cpu. [default: what this machine has]")
    ] = None,
    with_: Annotated[
        str | None,
        typer.Option("--with", help="ray: in an environment with Ray Serve."),
    ] = None,
) -> None:
    """Make an engine's own environment; nothing else on the machine changes.

    Interrupted, it is made again; what was downloaded is kept. Of several releases of an engine
    the one installed last is used.
    """
    if name not in backend_names():
        raise InputError(f"unknown backend {name!r}; {nearest(name, backend_names())}")
    backend = load_backend(name)
    spec = backend.environment(_platform(platform))
    if version:
        spec = of_release(spec, version)
    if with_:
        spec = ORCHESTRATORS.load(with_).beside(backend, spec)
    _install(spec)


def _platform(asked: str | None) -> Platform:
    if asked is None:
        try:
            return detect().accelerator.platform
        except InputError:  # NVIDIA GPUs, but mixed or not in the catalog
            return "cuda"
    if asked == "cuda":
        return "cuda"
    if asked == "cpu":
        return "cpu"
    raise InputError(f"--platform {asked}: choose cuda or cpu")


def _engine_status(backend: Backend, platform: Platform) -> EngineStatus:
    try:
        status = _status(backend, platform)
    except InputError as error:
        status = EngineStatus(name=backend.name, version="-", installed=False, remedy=str(error))
    return status.changed(verified=backend.verified, legacy=backend.legacy)


def _status(backend: Backend, platform: Platform) -> EngineStatus:
    spec = backend.environment(platform)
    found = tuple(map(_found, installations(backend, platform)))
    used = next((each for each in found if not each.objection), None)
    missing = missing_libraries(spec)
    remedy = "" if used else f"not installed: tpdeploy backends install {backend.name}"
    return EngineStatus(
        name=backend.name,
        version=used.version if used else spec.version,
        installed=used is not None,
        environment=used.environment if used else None,
        found=found,
        missing=missing,
        remedy="; ".join([*filter(None, [remedy]), *(f"install {who}" for who in missing)]),
    )


def _found(installation: Installation) -> Found:
    return Found(
        version=installation.version or "?",
        environment=installation.environment.executables.parent,
        where=installation.where,
        objection=installation.objection,
    )


def _show(engines: list[EngineStatus]) -> None:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for engine in engines:
        table.add_row(Text(engine.name, style="bold"), engine.version, _lines(engine))
    out.print(table)


def _lines(engine: EngineStatus) -> Text:
    """What state it is in, where it was found, what was run of it, and whether it is maintained."""
    used = [each for each in engine.found if not each.objection][:1]
    others = [each for each in engine.found if each not in used]
    state = [*(f"{each.where}: {each.environment}" for each in used), engine.remedy]
    run = f"run so far: {engine.verified}" if engine.verified else ""
    legacy = f"legacy: {engine.legacy}" if engine.legacy else ""
    further = Text("\n".join(filter(None, (*map(_not_used, others), run, legacy))), style="dim")
    parts = (Text("; ".join(filter(None, state))), further)
    return Text("\n", overflow="fold").join(part for part in parts if part)


def _not_used(found: Found) -> str:
    """An installation that another one comes before, or that does not suit."""
    why = found.objection or f"{found.version}, after the one above"
    return f"not used, {found.where}: {found.environment}: {why}"


def _install(spec: EnvironmentSpec) -> None:
    label = f"{spec.name} {spec.version}"
    if find_environment(spec) and chosen(spec).version == spec.version:
        err.print(f"{label} is installed")
        return
    err.print(
        f"Installing {label} into {folder_of(spec)}: downloads about "
        f"{_size(spec.download_bytes)}, takes {_size(spec.disk_bytes)}",
        soft_wrap=True,
    )
    with err.status(Text(f"Installing {label}")):
        install(spec, _report)
    err.print(f"{label} is installed")


def _report(line: str) -> None:
    """Show a line of uv's; its list of what it installed is left to the environment itself."""
    if not line.startswith(" + "):
        err.print(f"  {line}", style="dim", soft_wrap=True)


def _size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
