"""`tpdeploy.plan`, `estimate`, `compare` and `backtest`."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TypeVar, Unpack

from tpdeploy.api.decision import AUTO, decide, leaves_count_open
from tpdeploy.api.naming import named_as_in_python
from tpdeploy.api.options import (
    Common,
    Options,
    check_experts,
    check_type,
    day_of,
    load_of,
    request_of,
    stated,
    trace_of,
)
from tpdeploy.api.results import Compared, Comparison, Plan
from tpdeploy.api.turning import turns
from tpdeploy.errors import InfeasibleError, InputError
from tpdeploy.harness.backtest.prediction import predict_rows
from tpdeploy.harness.backtest.summary import Summary, summarise
from tpdeploy.harness.backtest.table import read_rows
from tpdeploy.planner.plan import Prediction
from tpdeploy.profiles.machine.gpus_spec import parse_gpus
from tpdeploy.profiles.models.library import load_model

OneT = TypeVar("OneT", str, int)


def plan(model: str, gpus: str = AUTO, **options: Unpack[Options]) -> Plan:
    """The best split of `gpus` for serving `model`, as `tpdeploy plan` finds it.

    Args:
        model: an alias (`llama-70b`), a folder with a config.json, or a hub id.
        gpus: `8xH100`, `2x8xH200` (two machines), `auto` (this machine); `H100` without a count
            gives the fewest that carry the load.
        options: the load, targets and limits, as `Options` describes them; times in ms.

    Raises:
        InputError: something that was given cannot work; the message says what would.
        InfeasibleError: nothing fits or meets the targets; the message names what does.
        TypeError: an option that is not known.
    """
    with named_as_in_python():
        return _planned(model, gpus, stated("plan", options))


def _planned(model: str, gpus: str, options: Options) -> Plan:
    for name, value in (("model", model), ("gpus", gpus)):
        check_type(name, value, str)
    cluster = parse_gpus(gpus, options.get("interconnect"), network=options.get("network"))
    stored = load_model(model)
    check_experts(stored, options.get("dp"), asked=options.get("ep"))
    trace, request = trace_of(options, stored), request_of(options)
    day = day_of(options, stored)
    load = load_of(options, stored, trace, day)
    backend = options.get("backend", AUTO)
    is_open = leaves_count_open(gpus, cluster)
    decision = decide(
        request,
        stored,
        cluster=cluster,
        count_is_open=is_open,
        load=load,
        backend=backend,
        trace=trace,
        day=day.load if day else None,
    )
    try:
        return Plan(**dict(decision.plan()))
    except InfeasibleError as refusal:
        raise InfeasibleError(decision.refused(refusal).reason) from None


def estimate(
    model: str, gpus: str, *, tp: int, backend: str = AUTO, **options: Unpack[Common]
) -> Prediction:
    """What one split is expected to do: tensor-parallel width `tp`, one stage unless `pp` is given.

    Without `replicas` there are as many as fit on `gpus`. TTFT and TPOT are in ms, each with its
    range and source. Arguments and errors are those of `plan`.
    """
    with named_as_in_python():
        split: Options = {"pp": 1, **stated("estimate", options), "tp": tp, "backend": backend}
        return _planned(model, gpus, split).prediction


def compare(
    model: str | Sequence[str],
    gpus: str | Sequence[str] = AUTO,
    *,
    backend: str | Sequence[str] = AUTO,
    tp: int | Sequence[int] | None = None,
    **options: Unpack[Common],
) -> Comparison:
    """Several models, GPUs, engines or tensor-parallel widths under the same load.

    Each of `model`, `gpus`, `backend` and `tp` is one or several; every combination is planned.
    One that is not feasible is part of the answer, with its reason. Options are those of `plan`.

    Raises:
        InputError: something that was given cannot work; fewer than two are compared.
    """
    with named_as_in_python():
        return compared(model, gpus, backend, tp, stated("compare", options))


def compared(
    model: str | Sequence[str],
    gpus: str | Sequence[str],
    backend: str | Sequence[str],
    tp: int | Sequence[int] | None,
    options: Options,
) -> Comparison:
    """What `compare` answers; errors name the options of the command line."""
    for name, value in (("model", model), ("gpus", gpus), ("backend", backend)):
        check_type(name, value, str | Sequence[str])
    widths: list[int | None] = list(_several(tp)) if tp is not None else [None]
    cases = list(product(_several(model), _several(gpus), _several(backend), widths))
    if len(set(cases)) < 2:
        raise InputError("compare needs two or more models, GPUs, engines or widths")
    varied = [len(set(values)) > 1 for values in zip(*cases, strict=True)]
    found = tuple(_compared(case, varied, options) for case in cases)
    able = [(each.name, each.plan) for each in found if each.plan]
    return Comparison(compared=found, turns=turns(able))


def backtest(path: str | Path) -> Summary:
    """How far the predictions of the measured runs in a CSV file are off.

    Errors are in percent, predicted / measured - 1. The columns are those of `tpdeploy backtest`.

    Raises:
        InputError: not a readable CSV file, a column is missing, or there are no rows.
    """
    with named_as_in_python():
        check_type("path", path, str | Path)
    table = read_rows(Path(path))
    return summarise(str(path), table.rows, predict_rows(table.rows))


def _several(one: OneT | Sequence[OneT]) -> Sequence[OneT]:
    if isinstance(one, str | int):
        return (one,)
    return one


def _compared(
    case: tuple[str, str, str, int | None], varied: Sequence[bool], options: Options
) -> Compared:
    """The plan of one case, called by what differs between the cases."""
    model, gpus, backend, tp = case
    words = (model, gpus, backend, f"TP {tp}")
    name = " ".join(word for word, differs in zip(words, varied, strict=True) if differs)
    width: Options = {} if tp is None else {"tp": tp}
    try:
        asked: Options = {**options, **width, "backend": backend}
        return Compared(name=name, plan=_planned(model, gpus, asked))
    except InfeasibleError as refusal:
        return Compared(name=name, plan=None, reason=str(refusal))
