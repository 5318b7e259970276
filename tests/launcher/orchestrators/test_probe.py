"""What the kubelet runs to see whether an engine generates."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tpdeploy.launcher.orchestrators.kubernetes import probe

COUNTER = "vllm:generation_tokens_total"


class Engine(BaseHTTPRequestHandler):
    """Answers as it is told: `status` of completions, after `delay_s`."""

    status, delay_s, key, busy = 200, 0.0, "", False
    tokens = 0

    def do_GET(self) -> None:
        if self.busy:
            type(self).tokens += 7
        self.reply(200, f'# HELP x\n{COUNTER}{{engine="0"}} {self.tokens}\nother 1\n'.encode())

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert asked["max_tokens"] == 1
        time.sleep(self.delay_s)
        known = not self.key or self.headers["Authorization"] == f"Bearer {self.key}"
        self.reply(self.status if known else 500, b"{}")

    def reply(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        with suppress(ConnectionError):  # nobody waits any more
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Tests stay quiet."""


@contextmanager
def engine(**behaviour: Any) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Told", (Engine,), behaviour))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield str(server.server_port)
    server.shutdown()
    server.server_close()


def probed(port: str, metrics: str = "/metrics") -> int:
    return probe.main([port, "some/model", "0.4", "ENGINE_KEY", metrics, COUNTER])


def test_one_token_is_life(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for with the engine's key."""
    monkeypatch.setenv("ENGINE_KEY", "inner")
    with engine(key="inner") as port:
        assert probed(port) == 0


def test_a_refusal_is_life() -> None:
    """As of a model without completions."""
    with engine(status=404) as port:
        assert probed(port) == 0


@pytest.mark.parametrize("behaviour", [{"delay_s": 2.0}, {"status": 500}])
def test_no_token_is_none(behaviour: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A dead rank: the request hangs, or the engine says that it is broken; health stays 200."""
    with engine(**behaviour) as port:
        assert probed(port) == 1
    assert "no token within 0.4 s" in capsys.readouterr().out


@pytest.mark.slow
def test_who_is_busy_with_others_lives() -> None:
    """Tokens for them are a sign of life; without metrics nobody can tell."""
    with engine(delay_s=2.0, busy=True) as port:
        assert probed(port) == 0
        assert probed(port, metrics="") == 1


def test_nobody_there_is_no_life() -> None:
    """The server itself has ended."""
    with engine() as port:
        pass
    assert probed(port) == 1
