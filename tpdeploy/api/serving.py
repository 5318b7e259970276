"""`tpdeploy.launch` and `validate`: a plan that runs, and how fast it is."""

import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from tpdeploy.api.measuring import measure_here
from tpdeploy.api.running import Running
from tpdeploy.api.trace import StatedTrace, as_recorded
from tpdeploy.backends.inputs import inputs_of
from tpdeploy.backends.registry import load_backend
from tpdeploy.errors import InputError, plainly, shown
from tpdeploy.harness.load.requests import Draw
from tpdeploy.harness.measure.report import ValidationReport
from tpdeploy.harness.measure.sweep import predicted
from tpdeploy.harness.measure.teaching import Launched
from tpdeploy.harness.measure.validation import expected_latency_s, measurement, replay_of
from tpdeploy.launcher.access import client_key
from tpdeploy.launcher.commands import Order, order_of
from tpdeploy.launcher.control import endpoint_of, refuse_parts, stop, take_over_orphans
from tpdeploy.launcher.launch import (
    begin,
    check,
    check_here,
    choose_port,
    one_at_a_time,
    until_ready,
)
from tpdeploy.launcher.runtimes.ports import LOOPBACK
from tpdeploy.launcher.runtimes.processes import this_process
from tpdeploy.launcher.state import DEFAULT_NAME, Endpoint
from tpdeploy.planner.plan import DeploymentPlan, Prediction
from tpdeploy.planner.search.recorded import predict_recorded
from tpdeploy.planner.search.replay import predict_plan
from tpdeploy.planner.trace import Trace
from tpdeploy.planner.workload import Workload
from tpdeploy.records import read_record


def launch(
    plan: DeploymentPlan | str | Path,
    *,
    name: str = DEFAULT_NAME,
    port: int | None = None,
    host: str = LOOPBACK,
    backend: str | None = None,
    executable: str | Path | None = None,
    python: str | Path | None = None,
    engine_args: Sequence[str] = (),
    startup_timeout_s: float = 1200.0,
    stay: bool = False,
    force: bool = False,
) -> Running:
    """Start `plan` on this machine, as `tpdeploy launch` does, and return when it serves.

    Args:
        plan: a plan, or the file of one.
        name: of the deployment, for `tpdeploy status` and the other commands.
        port: of the endpoint; the first free one from 8000 up.
        host: address to listen on; others than this machine's need a key.
        backend: an engine; the plan's.
        executable: an engine installed elsewhere, as its `vllm`.
        python: the Python of an environment that has the engine.
        engine_args: passed on as they are, as `--load-format=dummy`.
        startup_timeout_s: seconds to become ready.
        stay: it stays when this process has ended; else it ends with it.
        force: launch although a check has failed.

    Clients need a key if the environment has TPDEPLOY_API_KEY.

    Raises:
        InputError: it cannot be started; nothing has been.
        TpdeployError: it did not come to serve; everything of it has ended.
    """
    chosen = _plan_of(plan)
    engine = load_backend(backend or chosen.backend)
    chosen_port, hold = choose_port(host, port)
    order = Order(
        name=name,
        backend=engine.name,
        host=host,
        port=chosen_port,
        executable=_whole(executable),
        python=_whole(python),
        startup_timeout_s=startup_timeout_s,
        engine_args=tuple(engine_args),
        keyed=client_key() is not None,
        owner=None if stay else this_process(),
    )
    with closing(hold):  # its supervisor holds the port from here on
        check(chosen, engine, order)
        with one_at_a_time():
            check_here(chosen, engine, order, insist=force)
            supervisor = begin(chosen, order, hold)
    try:
        deployment = until_ready(name, supervisor, lambda _: None)
    except KeyboardInterrupt:
        stop(name)
        raise
    return Running(name, f"{deployment.url}/v1", deployment.model, chosen)


def validate(
    target: Running | str = DEFAULT_NAME,
    plan: DeploymentPlan | str | Path | None = None,
    *,
    requests: int | None = None,
    duration_s: float | None = None,
    warm_up: int | None = None,
    concurrency: int | None = None,
    rate: float | None = None,
    trace: str | Path | None = None,
) -> ValidationReport:
    """Measure what runs under the plan's load, as `tpdeploy validate` does; nothing is kept.

    Args:
        target: what `launch` returned, the name of a deployment, or the address of an endpoint.
        plan: to compare with; the deployment's. An address needs one.
        requests: how many to measure; by default enough to tell whether targets are met.
        duration_s: seconds to measure.
        warm_up: most requests before that.
        concurrency: requests in flight, in place of the plan's load.
        rate: requests/s, in place of the plan's load.
        trace: recorded requests in place of all these; of the plan's own file its part and speed.

    The report has `verdict`, `rows` (predicted, measured, target) and `measured`, with times in ms.

    Raises:
        InputError: nothing of that name serves, or it serves another model than the plan's.
        TpdeployError: not one request succeeded.
    """
    if not isinstance(target, str | Running):
        raise InputError(f"target {shown(target)}: give what launch returned, a name or an address")
    stated = None if plan is None else _plan_of(plan)
    address = target if isinstance(target, str) and "://" in target else ""
    if address and stated is None:
        raise InputError(f"{address}: give the plan that it was launched with")
    amount = (requests, duration_s, warm_up)
    if address and stated:
        endpoint = Endpoint(url=address.rstrip("/").removesuffix("/v1"), plan=stated)
        load = _load(stated.workload, concurrency, rate)
        return _measured(endpoint, None, load, amount, trace)
    name = target if isinstance(target, str) else target.name
    take_over_orphans()
    refuse_parts(name)
    with endpoint_of(name) as found:
        launched = Launched(found.plan, order_of(name).backend, order_of(name).engine_args)
        endpoint = found.changed(plan=stated) if stated else found
        load = _load(endpoint.plan.workload, concurrency, rate)
        return _measured(endpoint, launched, load, amount, trace)


def _measured(
    endpoint: Endpoint,
    launched: Launched | None,
    load: Workload,
    amount: tuple[int | None, float | None, int | None],
    file: str | Path | None,
) -> ValidationReport:
    """The endpoint under `load`, with that many requests, seconds and warm-up requests.

    With a `file` of recorded requests those are sent in its place.
    """
    plan, trace = endpoint.plan, None
    if file:
        most, before = plan.limits.max_model_len, plan.workload.recording
        trace = StatedTrace(Path(file)).read(most, before)
        load = as_recorded(plan.workload, trace)
    expected = _expected(plan, load, trace)
    latency_s = expected_latency_s(expected or plan.prediction, load)
    engine = load_backend(launched.backend if launched else plan.backend)
    how = replace(
        replay_of(load, trace, amount[2]) if trace else measurement(load, *amount, latency_s),
        draw=Draw(secrets.randbelow(2**31)),
        exact=engine.fixes_output_length,
    )
    # In a thread of its own: notebooks run an event loop already.
    with ThreadPoolExecutor(1) as thread:
        report = thread.submit(measure_here, endpoint, how, launched, lambda _: None).result()
    return predicted(report, expected) if expected else report


def _expected(plan: DeploymentPlan, load: Workload, trace: Trace | None) -> Prediction | None:
    """What is predicted of another load than the plan's; None where its model is not known here."""
    if load == plan.workload:
        return None
    try:
        if trace:
            return predict_recorded(inputs_of(plan), plan, load, trace)
        (prediction,) = predict_plan(inputs_of(plan), plan, [load])
    except InputError:
        return None
    return prediction


def _load(planned: Workload, concurrency: int | None, rate: float | None) -> Workload:
    if concurrency is not None and rate is not None:
        raise InputError("concurrency and rate: give one of them, not both")
    if concurrency is None and rate is None:
        return planned
    other = {"concurrency": concurrency, "rate": rate, "recording": None}
    try:
        return Workload.model_validate({**dict(planned), **other})
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{first['loc'][0]} {first['input']}: {plainly(first['msg'])}") from error


def _plan_of(plan: DeploymentPlan | str | Path) -> DeploymentPlan:
    if isinstance(plan, DeploymentPlan):
        return plan
    if not isinstance(plan, str | Path):
        raise InputError(f"plan {shown(plan)}: give a plan, or the file of one")
    return read_record(Path(plan), DeploymentPlan)


def _whole(path: str | Path | None) -> Path | None:
    return Path(path).absolute() if path else None
