#!/usr/bin/env python3
"""An engine that is none: serves /health, and behaves as real ones do when they misbehave.

It leaves a worker in its session that outlives it, ignores SIGTERM while it starts, and with
`--crash` ends during start-up with an error in its log. On every route but /health it wants the key
in STANDIN_KEY. It tells in its log what it is asked, and when a client of a stream has gone. Its
metrics say that each POST made 10 tokens, the first after half a second, the others 50 ms apart.
Measurements, which want a length and nothing else, get an answer of that length at once.
"""

import http.server
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

METRICS = """\
# TYPE standin_running gauge
standin_running{{rank="0"}} 2
# TYPE standin_waiting gauge
standin_waiting{{rank="0"}} 1
# TYPE standin_kv_use gauge
standin_kv_use{{rank="0"}} 0.25
# TYPE standin_tokens counter
standin_tokens_total{{rank="0"}} {tokens}
# TYPE standin_ttft_seconds histogram
standin_ttft_seconds_bucket{{le="+Inf"}} {count}
standin_ttft_seconds_sum {ttft}
standin_ttft_seconds_count {count}
# TYPE standin_tpot_seconds histogram
standin_tpot_seconds_bucket{{le="+Inf"}} {count}
standin_tpot_seconds_sum {tpot}
standin_tpot_seconds_count {count}
"""


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers 200 to everything that bears the key."""

    protocol_version = "HTTP/1.1"
    posts = 0

    def do_GET(self) -> None:
        key = os.environ.get("STANDIN_KEY")
        known = not key or self.headers["Authorization"] == f"Bearer {key}"
        self.send_response(200 if known or self.path == "/health" else 401)
        body = self.told() if known else b""
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def told(self) -> bytes:
        if self.path == "/v1/models":
            return json.dumps({"data": [{"id": os.environ["STANDIN_MODEL"]}]}).encode()
        return self.metrics() if self.path == "/metrics" else b""

    def metrics(self) -> bytes:
        n = Handler.posts
        return METRICS.format(tokens=10 * n, count=n, ttft=0.5 * n, tpot=0.05 * n).encode()

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers["Content-Length"] or 0))
        while (Path(os.environ["TPDEPLOY_HOME"]) / "silent").exists():
            time.sleep(0.1)
        if b'"max_tokens":1}' in asked.replace(b" ", b""):  # a probe
            return self.do_GET()
        Handler.posts += 1
        print(f"POST {self.path} {self.headers.values()}", flush=True)
        if b'"ignore_eos"' in asked:
            return self.answer(json.loads(asked)["max_tokens"])
        if self.path == "/v1/completions":
            return self.stream()
        if self.path == "/v1/chat/completions" and b'"stream": true' in asked:
            return self.say("Hello!")
        return self.do_GET()

    def answer(self, tokens: int) -> None:
        """A stream of as many tokens as are asked for."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.close_connection = True
        for number in range(1, tokens + 1):
            usage = {"completion_tokens": number}
            event = json.dumps({"choices": [{"text": "word"}], "usage": usage})
            self.wfile.write(f"data: {event}\n\n".encode())
            time.sleep(0.001)
        self.wfile.write(b"data: [DONE]\n\n")

    def say(self, text: str) -> None:
        """A chat's answer in one piece."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.close_connection = True
        choice = {"delta": {"content": text}, "finish_reason": "stop"}
        event = json.dumps({"choices": [choice], "usage": {"completion_tokens": 2}})
        self.wfile.write(f"data: {event}\n\ndata: [DONE]\n\n".encode())

    def stream(self) -> None:
        """Two events, five seconds apart, then one each tenth of a second while somebody reads."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.close_connection = True
        try:
            for pause_s in (5.0, *[0.1] * 100):
                self.wfile.write(b"data: {}\n\n")
                time.sleep(pause_s)
        except OSError:
            print("the client has gone", flush=True)

    def log_message(self, format: str, *args: object) -> None:
        pass


def main() -> None:
    arguments = sys.argv[1:]
    host, port = (arguments[arguments.index(name) + 1] for name in ("--host", "--port"))
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("STAGE loading", flush=True)
    told = [name for name in ("STANDIN_KEY", "TPDEPLOY_API_KEY") if name in os.environ]
    print(f"keys in the environment: {told}", flush=True)
    home = Path(os.environ["TPDEPLOY_HOME"])
    while (home / "slow").exists():
        time.sleep(0.1)
    if (home / "broken").exists():
        sys.exit("RuntimeError: broken")
    if "--crash" in arguments:
        sys.exit("RuntimeError: out of stand-in memory")
    if "--never-ready" in arguments:
        time.sleep(600)

    server = http.server.ThreadingHTTPServer((host, int(port)), Handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    server.serve_forever()


if __name__ == "__main__":
    main()
