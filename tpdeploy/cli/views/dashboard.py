"""A Grafana dashboard of one deployment: what its engines do, beside what the plan predicts."""

from collections.abc import Iterator
from typing import Any

from tpdeploy.backends.metrics import MetricNames
from tpdeploy.launcher.exposition import (
    PLANNED_RATE,
    PLANNED_TPOT,
    PLANNED_TTFT,
    READY,
    RESTARTS,
    WRITTEN,
)

SCHEMA = 38  # of Grafana 10.1, which later ones read
WIDTH, HEIGHT, COLUMNS = 12, 8, 24
THIS = 'deployment="$deployment"'

Json = dict[str, Any]
Queries = list[tuple[str, str]]  # what a line is called, and its PromQL


def dashboard(engine: str, names: MetricNames) -> Json:
    """The dashboard for an engine whose metrics have these `names`."""
    return {
        "uid": f"tpdeploy-{engine}",
        "title": f"tpdeploy: {engine}",
        "tags": ["tpdeploy", "llm"],
        "schemaVersion": SCHEMA,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": _variables()},
        "panels": [_panel(number, *panel) for number, panel in enumerate(_panels(names))],
    }


def _variables() -> list[Json]:
    query = f"label_values({PLANNED_TPOT}, deployment)"
    source = {"type": "datasource", "name": "source", "query": "prometheus"}
    choice: Json = {"type": "query", "name": "deployment", "datasource": _source()}
    choice |= {"query": query, "refresh": 2}
    return [source, choice]


def _source() -> Json:
    return {"type": "prometheus", "uid": "${source}"}


def _panels(names: MetricNames) -> Iterator[tuple[str, str, Queries]]:
    """Title, unit and queries of each."""
    for title, field, planned in (
        ("TTFT", "ttft", PLANNED_TTFT),
        ("TPOT", "tpot", PLANNED_TPOT),
    ):
        if field in names.histograms:
            yield title, "s", _quantiles(names, field, planned)
    known = names.values
    if "generated_tokens" in known:
        rate = f"sum(rate({_series(names, known['generated_tokens'])}[$__rate_interval]))"
        yield "Output tokens/s", "short", [("now", rate), ("planned", _own(PLANNED_RATE))]
    requests: Queries = [
        (field, f"sum({_series(names, known[field])})")
        for field in ("running", "waiting")
        if field in known
    ]
    if requests:
        yield "Requests", "short", requests
    if "kv_use" in known:
        use = f"avg by (replica) ({_series(names, known['kv_use'])})"
        yield "KV cache in use", "percentunit", [("{{replica}}", use)]
    if slow := _slowness(names):
        yield "Mean latency over the planned one", "percentunit", slow
    yield "Members ready", "short", [("{{member}}", _own(READY))]
    yield "Restarts", "short", [("{{member}}", _own(f"{RESTARTS}_total"))]
    yield "Since the supervisor's last word", "s", [("age", f"time() - {_own(WRITTEN)}")]


def _quantiles(names: MetricNames, field: str, planned: str) -> Queries:
    buckets = _series(names, f"{names.histograms[field]}_bucket")
    rate = f"sum by (le) (rate({buckets}[$__rate_interval]))"
    found = [(f"p{100 * q:.0f}", f"histogram_quantile({q}, {rate})") for q in (0.5, 0.99)]
    return [*found, ("planned mean", _own(planned))]


def _slowness(names: MetricNames) -> Queries:
    found = []
    for title, field, planned in (("TTFT", "ttft", PLANNED_TTFT), ("TPOT", "tpot", PLANNED_TPOT)):
        if name := names.histograms.get(field):
            total, count = (
                f"sum(rate({_series(names, f'{name}_{part}')}[5m]))" for part in ("sum", "count")
            )
            found.append((title, f"{total} / {count} / scalar({_own(planned)})"))
    return found


def _series(names: MetricNames, name: str) -> str:
    """The series of that name; where releases differ in a prefix, with or without it."""
    if not names.prefix:
        return f"{name}{{{THIS}}}"
    return f'{{__name__=~"({names.prefix})?{name}", {THIS}}}'


def _own(name: str) -> str:
    return f"{name}{{{THIS}}}"


def _panel(number: int, title: str, unit: str, queries: Queries) -> Json:
    across = COLUMNS // WIDTH
    place = {"x": WIDTH * (number % across), "y": HEIGHT * (number // across)}
    targets = [
        {"refId": chr(ord("A") + n), "expr": expr, "legendFormat": name, "datasource": _source()}
        for n, (name, expr) in enumerate(queries)
    ]
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": title,
        "datasource": _source(),
        "gridPos": {**place, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "targets": targets,
    }
