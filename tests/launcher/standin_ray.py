"""A stand-in for a Ray cluster: its dashboard, and Serve's proxy at the same port.

Like Serve it runs exactly the declared applications of the last configuration it was given, keeps
those of programs, ignores HTTP options while it runs, and answers 404 to paths it does not know.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

APPLICATIONS = "/api/serve/applications/"
OUT = ":job_id:01\n(EngineCore pid=7) INFO 11-26 13:25:25 [a.py:1] engine starts\n"
ERR = "INFO 2026-11-26 13:25:24,146 app wrsc -- first\nINFO 2026-11-26 13:25:27,146 app -- last\n"


class StandInRay:
    """The cluster; `completion` is the status of completions, `states` those of the engines."""

    def __init__(self) -> None:
        cluster = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None: ...

            def do_GET(self) -> None:
                asked = f"Bearer {cluster.token}" if cluster.token else None
                if self.headers["Authorization"] != asked:
                    self.answer(401, "Unauthorized")
                else:
                    self.answer(*cluster.get(self.path))

            def do_DELETE(self) -> None:
                cluster.options = None
                self.answer(200, "")

            def do_PUT(self) -> None:
                self.answer(*cluster.put(self.body()))

            def do_POST(self) -> None:
                self.answer(*cluster.complete(self.path, self.body()))

            def body(self) -> dict[str, Any]:
                found = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                assert isinstance(found, dict)
                return found

            def answer(self, status: int, text: str) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        self.options: dict[str, Any] | None = None
        self.applications: dict[str, dict[str, Any]] = {}
        self.states = ["RUNNING"]
        self.status, self.message = "RUNNING", ""
        self.completion, self.token = 200, ""
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def get(self, path: str) -> tuple[int, str]:
        asked = urlsplit(path)
        if asked.path == APPLICATIONS:
            return 200, json.dumps(self.details())
        if asked.path in {"/api/v0/logs/file", "/api/v0/logs/stream"}:
            query = parse_qs(asked.query)
            known = query["actor_id"] == ["actor-0"]
            return 200, {"out": OUT, "err": ERR}[query["suffix"][0]] if known else ""
        return 404, ""

    def put(self, config: dict[str, Any]) -> tuple[int, str]:
        if any("import_path" not in each for each in config["applications"]):
            return 400, "ValidationError: import_path"
        self.options = self.options or config["http_options"]
        programs = {n: a for n, a in self.applications.items() if a["source"] == "imperative"}
        self.applications = programs
        for each in config["applications"]:
            self.add(each, "declarative")
        return 200, ""

    def add(self, config: dict[str, Any], source: str) -> None:
        kept = {"name": config["name"], "source": source, "config": config}
        self.applications[config["name"]] = kept

    def complete(self, path: str, body: dict[str, Any]) -> tuple[int, str]:
        known = {f"{app['config']['route_prefix']}/v1/completions" for app in self.declared}
        if path not in known:
            return 404, f"Path '{path}' not found."
        assert body["max_tokens"] == 1
        return self.completion, "{}"

    @property
    def declared(self) -> list[dict[str, Any]]:
        return [a for a in self.applications.values() if a["source"] == "declarative"]

    def details(self) -> dict[str, Any]:
        if self.options is None:
            return {"controller_info": {}, "proxies": {}, "applications": {}}
        return {
            "controller_info": {"node_id": "n"},
            "http_options": self.options,
            "proxies": {},
            "target_capacity": None,
            "applications": {name: self.application(a) for name, a in self.applications.items()},
        }

    def application(self, kept: dict[str, Any]) -> dict[str, Any]:
        replicas = [
            {
                "replica_id": f"r{number}",
                "state": state,
                "start_time_s": 1795699042.0 + number,
                **({"node_ip": "10.0.0.7", "actor_id": f"actor-{number}"} if state else {}),
            }
            for number, state in enumerate(self.states)
        ]
        config = kept["config"] if kept["source"] == "declarative" else None
        server = {"name": "LLMServer:m", "status": "HEALTHY", "message": ""}
        return {
            "name": kept["name"],
            "route_prefix": kept["config"]["route_prefix"],
            "status": self.status,
            "message": self.message,
            "source": kept["source"],
            "deployed_app_config": config,
            "deployments": {
                "LLMServer:m": {**server, "target_num_replicas": 2, "replicas": replicas},
                "OpenAiIngress": {
                    **{"name": "OpenAiIngress", "status": "HEALTHY", "target_num_replicas": 1},
                    "replicas": [{"replica_id": "f", "state": "RUNNING", "start_time_s": 1.0}],
                },
            },
        }
