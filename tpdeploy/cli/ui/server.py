"""The server of the page: GET alone, on loopback, for browsers of this machine."""

import json
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from threading import Lock
from urllib.parse import parse_qsl, urlsplit

from tpdeploy.cli.ui.answers import Refusal, answer_to
from tpdeploy.errors import InputError, TpdeployError
from tpdeploy.profiles.devices.catalog import accelerator_names
from tpdeploy.profiles.models.library import model_names

PAGES = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
HEADERS = {
    # Nothing of the page comes from elsewhere, and no other page shows it.
    "Content-Security-Policy": (
        "default-src 'self'; img-src data:; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})
LONGEST_ADDRESS = 4096
# Plans take all of a core: one at a time, the newest of a slider's included.
PLANNING = Lock()


class Handler(BaseHTTPRequestHandler):
    """Answers with the page, the names it offers, or a plan."""

    protocol_version = "HTTP/1.1"
    server_version = "tpdeploy"
    sys_version = ""

    def __init__(self, *args: object, hosts: frozenset[str] = LOOPBACK_NAMES) -> None:
        self.hosts = hosts
        super().__init__(*args)  # type: ignore[arg-type]

    def handle(self) -> None:
        """Until the browser has enough: it drops what a slider has asked before."""
        with suppress(ConnectionError):
            super().handle()

    def do_GET(self) -> None:
        """A page, the names, or the answer to the form in the address."""
        # A page of another name that leads here (DNS rebinding) could read what this one answers.
        name = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
        if name not in self.hosts:
            return self._send(HTTPStatus.FORBIDDEN, "text/plain", b"ask by the address shown")
        address = urlsplit(self.path[:LONGEST_ADDRESS])
        if address.path in PAGES:
            file, kind = PAGES[address.path]
            content = files("tpdeploy.cli.ui").joinpath(file).read_bytes()
            return self._send(HTTPStatus.OK, kind, content)
        answers: dict[str, Callable[[], object]] = {
            "/names": names,
            "/answer": partial(_answer, dict(parse_qsl(address.query))),
        }
        if address.path not in answers:
            return self._send(HTTPStatus.NOT_FOUND, "text/plain", b"no such page")
        content = json.dumps(answers[address.path]()).encode()
        return self._send(HTTPStatus.OK, "application/json", content)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: a slider that moves sends ten requests per second."""

    def _send(self, status: HTTPStatus, kind: str, content: bytes) -> None:
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def names() -> dict[str, list[str]]:
    """The models and GPUs that the form offers."""
    return {
        "models": list(model_names(ids=False)),
        "gpus": [f"{count}x{name}" for name in accelerator_names() for count in (1, 8)],
    }


def server(host: str, port: int) -> ThreadingHTTPServer:
    """The server, which listens and does not serve yet.

    Raises:
        InputError: the address cannot be listened on.
    """
    hosts = LOOPBACK_NAMES | {host}
    try:
        return ThreadingHTTPServer((host, port), partial(Handler, hosts=hosts))
    except OSError as error:
        raise InputError(f"--port {port} on {host}: {error.strerror}; name another") from error


def _answer(fields: dict[str, str]) -> object:
    try:
        with PLANNING:
            return answer_to(fields).model_dump(mode="json")
    except TpdeployError as error:
        return Refusal(error=str(error), command="").model_dump(mode="json")
