#!/usr/bin/env python3
"""An engine that is none: serves /health, and behaves as real ones do when they misbehave.

It leaves a worker in its session that outlives it, ignores SIGTERM while it starts, and with
`--crash` ends during start-up with an error in its log. As `vllm-router` it answers /readiness.
"""

import http.server
import os
import signal
import subprocess
import sys
import time


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers 200 to everything."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def do_POST(self) -> None:
        print(f"POST {self.path}", flush=True)
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:
        pass


def main() -> None:
    arguments = sys.argv[1:]
    port = int(arguments[arguments.index("--port") + 1])
    if "--worker-urls" not in arguments:
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "--worker-urls" not in arguments:
        print("STAGE loading", flush=True)
        print(f"key {'is' if os.environ.get('STANDIN_KEY') else 'is not'} set", flush=True)
    if "--crash" in arguments:
        sys.exit("RuntimeError: out of stand-in memory")
    if "--never-ready" in arguments:
        time.sleep(600)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    server.serve_forever()


if __name__ == "__main__":
    main()
