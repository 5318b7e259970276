#!/usr/bin/env python3
"""A `trtllm-serve` that is none: it takes what the contract lists, and refuses everything else.

As click does, it exits with code 2 and one line; then it serves like the real one: /health, the
model under the last part of its path, streamed completions, Prometheus metrics, a child process.
"""

import http.server
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

METRICS = """\
# TYPE trtllm_kv_cache_utilization gauge
trtllm_kv_cache_utilization{model_name="m"} 0.25
# TYPE trtllm_time_to_first_token_seconds histogram
trtllm_time_to_first_token_seconds_bucket{le="+Inf"} 4
trtllm_time_to_first_token_seconds_sum 0.5
trtllm_time_to_first_token_seconds_count 4
"""


def contract() -> dict[str, Any]:
    listed: dict[str, Any] = yaml.safe_load(Path(os.environ["TRTLLM_CONTRACT"]).read_text())
    return listed


def refuse(words: str) -> None:
    sys.exit(f"Usage: trtllm-serve [OPTIONS] MODEL\n\nError: {words}")


def parsed(words: list[str]) -> dict[str, str]:
    """Arguments by name; click's refusals for what the contract does not list."""
    names = dict(contract()["flags"])
    names |= {d["same_as"]: d for d in list(names.values()) if "same_as" in d}
    found, rest = {}, list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            found["MODEL"] = word
        elif word not in names:
            refuse(f"No such option: {word}")
        elif names[word]["value"] == "none":
            found[word] = "yes"
        else:
            found[word] = rest.pop(0)
            if names[word]["value"] == "integer" and not found[word].isdigit():
                refuse(f"Invalid value for '{word}': {found[word]!r} is not a valid integer.")
    return found


def leaves(tree: Any, path: str = "") -> list[str]:
    if not isinstance(tree, dict):
        return [path]
    return [
        leaf for key, value in tree.items() for leaf in leaves(value, f"{path}.{key}".strip("."))
    ]


class Handler(http.server.BaseHTTPRequestHandler):
    """The endpoints that tpdeploy uses."""

    protocol_version = "HTTP/1.1"
    model = ""

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            return self.reply(json.dumps({"data": [{"id": self.model}]}))
        if self.path == "/prometheus/metrics":
            return self.reply(METRICS)
        return self.reply("{}")

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        tokens, chat = int(asked.get("max_tokens") or 4), "chat" in self.path
        prompt = len(asked["prompt"]) if "prompt" in asked else 1
        choice = {"delta": {"content": "word "}} if chat else {"text": "word "}
        events: list[dict[str, Any]] = [
            {"choices": [{"index": 0, **choice}]} for _ in range(tokens)
        ]
        events[-1]["choices"][0]["finish_reason"] = "length"
        usage = {"prompt_tokens": prompt, "completion_tokens": tokens}
        events.append({"choices": [], "usage": usage})
        lines = [f"data: {json.dumps(event)}\n\n" for event in events]
        self.reply("".join([*lines, "data: [DONE]\n\n"]), "text/event-stream")

    def reply(self, text: str, kind: str = "application/json") -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


def main() -> None:
    given = parsed(sys.argv[1:])
    options = yaml.safe_load(Path(given["--extra_llm_api_options"]).read_text())
    for leaf in leaves(options):
        if leaf not in contract()["options"]:
            refuse(f"Extra inputs are not permitted: {leaf}")
    devices = os.environ["CUDA_VISIBLE_DEVICES"].split(",")
    if len(devices) != int(given["--tp_size"]) * int(given["--pp_size"]):
        sys.exit("RuntimeError: world size and visible devices differ")
    print("[TRT-LLM] [I] TensorRT LLM version: 1.2.1", flush=True)
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    if os.environ.get("STANDIN_FAILS"):
        sys.exit("[TRT-LLM] [E] Executor worker returned error: out of stand-in memory")
    Handler.model = given["MODEL"] if "/" not in given["MODEL"] else given["MODEL"].strip("/")
    server = http.server.ThreadingHTTPServer((given["--host"], int(given["--port"])), Handler)
    print("INFO: Application startup complete.", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
