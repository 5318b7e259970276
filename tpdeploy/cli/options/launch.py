"""The options of `tpdeploy launch`."""

from pathlib import Path
from typing import Annotated

import typer

from tpdeploy.launcher.systemd import Scope

Plan = Annotated[Path | None, typer.Argument(help="Plan file. [default: current plan]")]
Backend = Annotated[str | None, typer.Option(help="Engine. [default: the plan's]")]
Port = Annotated[
    int | None, typer.Option(help="Port of the endpoint. [default: first free from 8000]")
]
Host = Annotated[
    str, typer.Option(help="Address to listen on; others than this machine's need a key.")
]
Insecure = Annotated[bool, typer.Option("--insecure", help="Let others reach it without a key.")]
ApiKeyFile = Annotated[
    Path | None, typer.Option(help="Keys of clients, one per line; read again for each request.")
]
GenerateKey = Annotated[
    bool, typer.Option("--generate-key", help="Generate a key and show it once.")
]
TlsCert = Annotated[Path | None, typer.Option(help="Certificate to encrypt with, a PEM file.")]
TlsKey = Annotated[Path | None, typer.Option(help="Its key, a PEM file.")]
Metrics = Annotated[bool, typer.Option("--metrics", help="Show the engines' metrics at /metrics.")]
Name = Annotated[str, typer.Option(help="Name of the deployment.")]
Detach = Annotated[bool, typer.Option("--detach", help="Return as soon as it is ready.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the commands only.")]
Force = Annotated[
    bool, typer.Option("--force", help="Launch even if a check (tpdeploy doctor) fails.")
]
Executable = Annotated[
    Path | None, typer.Option(help="Executable of an engine installed elsewhere.")
]
Python = Annotated[
    Path | None, typer.Option(help="The Python of an environment that has the engine.")
]
Container = Annotated[
    str | None, typer.Option(help="An image that has the engine; Docker or Podman runs it.")
]
On = Annotated[
    str,
    typer.Option(
        help="What runs it: local, slurm, ssh:HOST,HOST, kubernetes or kubernetes:CONTEXT."
    ),
]
Namespace = Annotated[
    str | None, typer.Option(help="For --on kubernetes. [default: the context's]")
]
Volume = Annotated[
    str | None,
    typer.Option(
        help="Where its weights are, for --on kubernetes: pvc:NAME, pvc:NAME/FOLDER, PATH."
    ),
]
Format = Annotated[
    str | None,
    typer.Option("--format", help="Of the manifest for --on kubernetes: plain (default), kserve."),
]
Autoscale = Annotated[
    str | None,
    typer.Option(
        help="Scale replicas as the plan's day needs (plan --daily): keda or hpa with --on "
        "kubernetes, serve with --on ray."
    ),
]
Prometheus = Annotated[
    str | None,
    typer.Option(
        help="For --autoscale keda or hpa: where Prometheus answers, as "
        "http://prometheus.monitoring.svc:9090."
    ),
]
Output = Annotated[
    Path | None,
    typer.Option("-o", "--output", help="Write what --dry-run prints to this file, and end."),
]
Sbatch = Annotated[
    list[str] | None,
    typer.Option(help="An option of sbatch for --on slurm, e.g. --sbatch partition=gpu."),
]
EngineArg = Annotated[
    list[str] | None,
    typer.Option(help="Passed to the engine unchanged, e.g. --engine-arg=--load-format=dummy."),
]
StartupTimeout = Annotated[float, typer.Option(help="Seconds to become ready.")]
Systemd = Annotated[
    Scope | None,
    typer.Option(help="Start it as a service that comes back at boot: user or system."),
]
HangTimeout = Annotated[
    float, typer.Option(min=1, help="Seconds without a sign of life until a replica is restarted.")
]
Restarts = Annotated[
    int, typer.Option(min=0, help="Failures in a row after which a replica is given up.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
