"""`tpdeploy up`: plan, launch, ask one question, and show how to call what runs."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from inspect import signature
from pathlib import Path
from shlex import quote
from typing import Any

import typer

from tpdeploy.api.decision import AUTO, decide
from tpdeploy.backends.base import Backend, Platform
from tpdeploy.backends.registry import load_backends
from tpdeploy.cli.commands import plan as planning
from tpdeploy.cli.commands.launch import carry_out
from tpdeploy.cli.commands.query import answer_of, summary
from tpdeploy.cli.options import launch as starting
from tpdeploy.cli.options import plan as given
from tpdeploy.cli.options.devices import cluster_of, is_open
from tpdeploy.cli.options.plan_request import assumed, load_of, request_of
from tpdeploy.cli.options.quiet import Quiet
from tpdeploy.cli.output import err, out, print_json
from tpdeploy.cli.planfile import keep_previous, write_plan
from tpdeploy.cli.views.calling import calls
from tpdeploy.cli.views.plan import show_answer
from tpdeploy.errors import InfeasibleError, InputError
from tpdeploy.harness.load.chat import Question
from tpdeploy.harness.load.events import RequestError
from tpdeploy.launcher.access import API_KEY
from tpdeploy.launcher.commands import Order
from tpdeploy.launcher.installed import used
from tpdeploy.launcher.orchestrators.registry import orchestrator_for
from tpdeploy.launcher.runtimes.ports import LOOPBACK
from tpdeploy.launcher.state import DEFAULT_NAME, Deployment
from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.profiles.models.library import load_model

app = typer.Typer(add_completion=False, rich_markup_mode=None)

# What runs deployments on this machine, whose devices --gpus auto is.
LOCAL, HERE = "local", {"local", "container"}
FIRST = Question(text="Say hello in one sentence.", max_tokens=32)


@app.command()
def up(
    context: typer.Context,
    model: given.ModelName,
    *,
    gpus: given.Gpus = "auto",
    input_tokens: given.InputTokens = None,
    output_tokens: given.OutputTokens = None,
    length_spread: given.LengthSpread = None,
    workload: given.WorkloadName = None,
    lengths: given.LengthsFile = None,
    concurrency: given.Concurrency = None,
    rate: given.Rate = None,
    ttft: given.Ttft = None,
    tpot: given.Tpot = None,
    prefix_cache_hit_rate: given.PrefixHits = 0.0,
    dtype: given.DtypeName = "auto",
    quantization: given.QuantizationName = None,
    kv_cache: given.KvCacheDtype = "auto",
    max_model_len: given.MaxModelLen = None,
    max_num_batched_tokens: given.MaxNumBatchedTokens = None,
    max_num_seqs: given.MaxNumSeqs = None,
    memory_fraction: given.MemoryFraction = None,
    enforce_eager: given.EnforceEager = False,
    tp: given.Tp = None,
    pp: given.Pp = None,
    dp: given.Dp = None,
    ep: given.Ep = None,
    replicas: given.Replicas = None,
    interconnect: given.Interconnect = None,
    network: given.NetworkName = None,
    backend: given.BackendName = "auto",
    optimize: given.Optimize = "throughput",
    output: given.Output = None,
    port: starting.Port = None,
    host: starting.Host = LOOPBACK,
    insecure: starting.Insecure = False,
    api_key_file: starting.ApiKeyFile = None,
    generate_key: starting.GenerateKey = False,
    tls_cert: starting.TlsCert = None,
    tls_key: starting.TlsKey = None,
    metrics: starting.Metrics = False,
    name: starting.Name = DEFAULT_NAME,
    detach: starting.Detach = False,
    systemd: starting.Systemd = None,
    dry_run: starting.DryRun = False,
    force: starting.Force = False,
    executable: starting.Executable = None,
    python: starting.Python = None,
    container: starting.Container = None,
    on: starting.On = LOCAL,
    sbatch: starting.Sbatch = None,
    namespace: starting.Namespace = None,
    volume: starting.Volume = None,
    format_: starting.Format = None,
    engine_arg: starting.EngineArg = None,
    startup_timeout: starting.StartupTimeout = 1200.0,
    hang_timeout: starting.HangTimeout = 120.0,
    restarts: starting.Restarts = 10,
    json: starting.Json = False,
    quiet: Quiet = False,
) -> None:
    """Plan MODEL on these GPUs, launch it, ask it a question, and show how to call it.

    With --on and without --gpus it plans for what that cluster has. What is not here is an option
    of plan; exit codes are those of plan and launch. With --json no question is asked.
    """
    asked = {**_defaults(planning.plan), **context.params}
    made = _planned(asked)
    show_answer(err, made)
    started = {**asked, "backend": None, "output": None}
    tell = _print if json else _show_calls
    carry_out(made, started, lambda: _kept(made, output), tell)


def _defaults(command: Callable[..., None]) -> dict[str, Any]:
    """What the options of a command are where they are not stated."""
    options = signature(command).parameters.values()
    return {each.name: each.default for each in options if each.default is not each.empty}


def _planned(asked: Mapping[str, Any]) -> DeploymentPlan:
    """The plan that `tpdeploy plan` makes of the same options.

    Raises:
        InfeasibleError: there is none; the message says what would work.
    """
    gpus, stored = _gpus(asked), load_model(asked["model"])
    cluster = cluster_of(gpus, asked["interconnect"], asked["network"])
    load = load_of(asked, stored)
    decision = decide(
        request_of(asked, stored),
        stored,
        cluster=cluster,
        count_is_open=is_open(gpus, cluster),
        load=load,
        backend=asked["backend"],
        among=_startable(asked, cluster.accelerator.platform),
    )
    try:
        return decision.plan(assumed=assumed(asked, load))
    except InfeasibleError as refusal:
        raise InfeasibleError(decision.refused(refusal).reason) from None


def _gpus(asked: Mapping[str, Any]) -> str:
    """What is planned for: the devices of `--gpus`, else those of the cluster that runs it."""
    gpus, on = str(asked["gpus"]), str(asked["on"])
    name = on.partition(":")[0]
    orchestrator_for(on)  # or neither that nor a runtime is called so
    if gpus.strip().lower() != AUTO or name in HERE:
        return gpus
    if name != "slurm":
        return on
    stated = [option.removeprefix("--").partition("=") for option in asked["sbatch"] or ()]
    partitions = [value for option, _, value in stated if option == "partition"]
    return ":".join([name, *partitions[-1:]])


def _startable(asked: Mapping[str, Any], platform: Platform) -> list[Backend]:
    """The engines that can be started now: others would only be asked for.

    Any, if its program is named, or if it is started elsewhere.

    Raises:
        InputError: a program is named, and not of which engine it is.
    """
    named = next((name for name in ("executable", "python", "container") if asked[name]), None)
    if named:
        if asked["backend"] == "auto":
            raise InputError(f"--{named}: say of which engine it is, as --backend vllm")
        return load_backends()[0]
    if asked["on"].partition(":")[0] not in HERE:
        return load_backends()[0]
    found = []
    for backend in load_backends()[0]:
        with suppress(InputError):  # it does not run there
            found += [backend] if used(backend, platform) else []
    return found


def _kept(plan: DeploymentPlan, output: Path | None) -> Path:
    """Where the plan is now: in `output`, or as the current one."""
    if output is None and (replaced := keep_previous(plan)):
        err.print(replaced, soft_wrap=True, style="dim")
    return write_plan(plan, output)


def _print(deployment: Deployment, _: Order) -> None:
    print_json(deployment)


def _show_calls(deployment: Deployment, order: Order) -> None:
    """The answer to a first question, and programs that ask others."""
    chats = True
    out.print(f"Ready: {deployment.model} at {deployment.url}/v1", soft_wrap=True)
    try:
        answer = answer_of(deployment.name, FIRST)
        err.print(f"Asked {FIRST.text!r}: {answer.text.strip()!r}", soft_wrap=True)
        err.print(summary(answer), style="dim")
    except RequestError as refusal:
        # Most often a model without a chat template, which continues texts.
        chats = refusal.failure.kind != "status"
        said = "A first question got no whole answer" if chats else "It does not chat"
        err.print(f"{said}: {refusal}", style="yellow", soft_wrap=True)
    keyed = order.keyed or order.key_file is not None
    if keyed and order.key_file:
        out.print(f'export {API_KEY}="$(head -n 1 {quote(str(order.key_file))})"', soft_wrap=True)
    if order.tls_cert:
        out.print(f"export SSL_CERT_FILE={quote(str(order.tls_cert))}", soft_wrap=True)
    if deployment.orchestrator:
        err.print("Where that address is known, as in a pod of the cluster:")
    out.print(calls(deployment, chats=chats, keyed=keyed), soft_wrap=True)
    named = "" if deployment.name == DEFAULT_NAME else f" --name {deployment.name}"
    err.print(f"Stop it: tpdeploy stop{named}. Measure it: tpdeploy validate{named}.")
