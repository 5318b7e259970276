"""A stand-in for an OpenAI-compatible server on loopback, with a schedule that is known."""

import json
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain, repeat
from typing import Any, Literal

from tests.harness.plans import MODEL

Behaviour = Literal["answer", "refuse", "error event", "cut", "short", "silent", "not json"]


@dataclass
class Seen:
    """One request as the server saw it; times are `time.monotonic`."""

    path: str
    key: str | None
    body: dict[str, Any]
    received: float
    token_times: list[float] = field(default_factory=list)


@dataclass
class StandIn:
    """What the server does, and what it saw."""

    ttft_s: float = 0.0
    itl_s: float = 0.0
    counts: bool = True  # a running count of tokens in every event
    words: tuple[str, ...] = ()  # the answer of the chat; default: "word" as often as asked
    behaviours: Iterator[Behaviour] = field(default_factory=lambda: repeat("answer"))
    seen: list[Seen] = field(default_factory=list)
    url: str = ""

    @property
    def first(self) -> Seen:
        return self.seen[0]


def first_then_answer(*behaviours: Behaviour) -> Iterator[Behaviour]:
    rest: Iterable[Behaviour] = repeat("answer")
    return chain(behaviours, rest)


@contextmanager
def serving(stand_in: StandIn) -> Iterator[StandIn]:
    """Serve on a free port of loopback until the end of the block."""
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0),
        type("Handler", (_Handler,), {"stand_in": stand_in, "lock": threading.Lock()}),
    )
    server.daemon_threads = True
    stand_in.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield stand_in
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    """Answers as the stand-in it belongs to is told to."""

    stand_in: StandIn
    lock: threading.Lock
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            self.reply(200, {"data": [{"id": MODEL}]})
        elif self.path == "/version":
            self.reply(200, {"version": "1.2.3"})
        else:
            self.reply(404, {"error": {"message": "no such path"}})

    def do_POST(self) -> None:
        received = time.monotonic()
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        seen = Seen(self.path, self.headers["Authorization"], body, received)
        with self.lock:
            self.stand_in.seen.append(seen)
            behaviour = next(self.stand_in.behaviours)
        if behaviour == "refuse":
            self.reply(503, {"error": {"message": "no room\nfor this"}})
            return
        try:
            self.stream(seen, behaviour)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def stream(self, seen: Seen, behaviour: Behaviour) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if behaviour == "silent":
            time.sleep(2)
        if behaviour == "not json":
            self.chunk(b"data: <html>\n\n")
        if behaviour == "error event":
            self.event({"error": {"message": "engine died", "code": 500}})
        if behaviour in {"silent", "not json", "error event"}:
            self.close_connection = True
            return
        self.tokens(seen, behaviour)

    def tokens(self, seen: Seen, behaviour: Behaviour) -> None:
        total = seen.body["max_tokens"] - (behaviour == "short")
        words = self.stand_in.words or ("word",) * total
        usage = {"prompt_tokens": len(seen.body.get("prompt", "x"))}
        time.sleep(self.stand_in.ttft_s)
        for number, word in enumerate(words, 1):
            if number > 1:
                time.sleep(self.stand_in.itl_s)
            if behaviour == "cut" and number == 2:
                self.close_connection = True
                return
            last = number == len(words)
            choice: dict[str, Any] = {"finish_reason": "stop" if last else None}
            choice |= {"text": word} if "prompt" in seen.body else {"delta": {"content": word}}
            event: dict[str, Any] = {"choices": [choice]}
            if self.stand_in.counts:
                event["usage"] = {**usage, "completion_tokens": number}
            seen.token_times.append(time.monotonic())
            self.event(event)
        self.event({"choices": [], "usage": {**usage, "completion_tokens": len(words)}})
        self.chunk(b"data: [DONE]\n\n")
        self.chunk(b"")

    def event(self, payload: dict[str, Any]) -> None:
        self.chunk(b"data: " + json.dumps(payload).encode() + b"\n\n")

    def chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def reply(self, status: int, payload: dict[str, Any]) -> None:
        body = json.dumps(payload).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Tests stay quiet."""
