"""A hub on loopback: what it answers is what the test puts into a dictionary."""

import http.server
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

MODEL = "some/model"
CONFIG = f"/{MODEL}/resolve/main/config.json"
FILES = f"/api/models/{MODEL}?blobs=true"


@dataclass
class StandinHub:
    """Answers by path, or by path and token; what is not there is answered with 404."""

    address: str = ""
    answers: dict[str, tuple[int, str, Mapping[str, str]]] = field(default_factory=dict)

    def answer(
        self, path: str, status: int, content: object = None, *, token: str = "", kind: str = ""
    ) -> None:
        """Answer `path` so, if asked with that token; `kind` is the hub's word for an error."""
        body = content if isinstance(content, str) else json.dumps(content)
        key = f"{path} Bearer {token}" if token else path
        self.answers[key] = (status, body, {"X-Error-Code": kind} if kind else {})

    def has(self, sizes: Mapping[str, int]) -> None:
        """The files of MODEL, by their bytes."""
        listed = [{"rfilename": name, "size": size} for name, size in sizes.items()]
        self.answer(FILES, 200, {"id": MODEL, "siblings": listed})


@contextmanager
def serving() -> Iterator[StandinHub]:
    """A hub that answers while the context lasts."""
    hub = StandinHub()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            key = f"{self.path} {self.headers.get('Authorization')}"
            missing: tuple[int, str, Mapping[str, str]] = (404, "", {})
            status, body, headers = hub.answers.get(key, hub.answers.get(self.path, missing))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        hub.address = f"http://127.0.0.1:{server.server_port}"
        yield hub
        server.shutdown()


def without_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the user's says anything about a hub."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_TOKEN", "HF_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HUGGING_FACE_HUB_TOKEN", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME"):
        monkeypatch.delenv(name, raising=False)
