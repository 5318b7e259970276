#!/usr/bin/env python3
"""A `trtllm-serve` that is none: it takes what the contract lists, and refuses everything else.

It is of the release that TRTLLM_RELEASE names. As click does, it exits with code 2 and one line,
and as pydantic does, with a traceback for a key it does not know. Then it serves like the real
one: /health with 503 at first, the model under the name of its folder or its whole id, streamed
completions, Prometheus metrics, a child process.
"""

import http.server
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import yaml

RELEASE = os.environ.get("TRTLLM_RELEASE", "1.2")
METRICS = """\
# TYPE trtllm_kv_cache_utilization gauge
trtllm_kv_cache_utilization{model_name="m"} 0.25
# TYPE trtllm_time_to_first_token_seconds histogram
trtllm_time_to_first_token_seconds_bucket{le="+Inf"} 4
trtllm_time_to_first_token_seconds_sum 0.5
trtllm_time_to_first_token_seconds_count 4
"""


def known(part: str) -> dict[str, Any]:
    """What of the contract this release takes."""
    every = yaml.safe_load(Path(os.environ["TRTLLM_CONTRACT"]).read_text())[part].items()
    return {n: d for n, d in every if d["since"] <= RELEASE <= d.get("until", RELEASE)}


def flags() -> dict[str, Any]:
    """Every spelling of every flag."""
    found = known("flags")
    return found | {d["same_as"]: d for d in found.values() if "same_as" in d}


def tell_help() -> NoReturn:
    print("Usage: trtllm-serve [OPTIONS] MODEL\n\nOptions:")
    for flag, described in known("flags").items():
        other = f"{described['same_as']}, " if "same_as" in described else ""
        kind = "" if described["value"] == "none" else f" {described['value'].upper()}"
        print(f"  {other}{flag}{kind}\n                                  What it is for.")
    print("  --help                          Show this message and exit.")
    sys.exit()


def refuse(words: str) -> NoReturn:
    print(f"Usage: trtllm-serve [OPTIONS] MODEL\n\nError: {words}", file=sys.stderr)
    sys.exit(2)


def parsed(words: list[str]) -> dict[str, str]:
    """Arguments by name; click's refusals for what the contract does not list."""
    names, found, rest = flags(), dict[str, str](), list(words)
    while rest:
        word = rest.pop(0)
        if word == "--help":
            tell_help()
        elif not word.startswith("--"):
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


def check_options(path: str) -> None:
    """A traceback for a key that this release does not have."""
    options = known("options")
    for leaf in leaves(yaml.safe_load(Path(path).read_text())):
        if leaf not in options:
            sys.exit(
                "pydantic_core._pydantic_core.ValidationError: 1 validation error for TorchLlmArgs"
                f"\n{leaf}\n  Extra inputs are not permitted [type=extra_forbidden, input_value=1]"
            )


def leaves(tree: Any, path: str = "") -> list[str]:
    if not isinstance(tree, dict):
        return [path]
    return [
        leaf for key, value in tree.items() for leaf in leaves(value, f"{path}.{key}".strip("."))
    ]


class Handler(http.server.BaseHTTPRequestHandler):
    """The endpoints that tpdeploy uses."""

    protocol_version = "HTTP/1.1"
    answered: ClassVar[list[str]] = []
    model = ""
    unready = 2  # health checks that come too early

    def do_GET(self) -> None:
        if self.path == "/health" and Handler.unready:
            Handler.unready -= 1
            return self.reply("", status=503)
        if self.path == "/v1/models":
            return self.reply(json.dumps({"data": [{"id": self.model}]}))
        if self.path == "/prometheus/metrics":
            count = 4 + len(self.answered)
            grown = METRICS.replace("sum 0.5", f"sum {count / 8}").replace(
                "count 4", f"count {count}"
            )
            return self.reply(grown)
        return self.reply("")

    def do_POST(self) -> None:
        self.answered.append(self.path)
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if asked["model"] != self.model:
            return self.reply(f"no model {asked['model']}", status=404)
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
        return self.reply("".join([*lines, "data: [DONE]\n\n"]), kind="text/event-stream")

    def reply(self, text: str, kind: str = "application/json", status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


def main() -> None:
    given = parsed(sys.argv[1:])
    check_options(given["--extra_llm_api_options"])
    devices = os.environ["CUDA_VISIBLE_DEVICES"].split(",")
    if len(devices) != int(given["--tp_size"]) * int(given["--pp_size"]):
        sys.exit("RuntimeError: world size and visible devices differ")
    print(f"[TRT-LLM] [I] TensorRT LLM version: {RELEASE}", flush=True)
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    if os.environ.get("STANDIN_FAILS"):
        sys.exit("[TRT-LLM] [E] Executor worker returned error: out of stand-in memory")
    model = Path(given["MODEL"])
    Handler.model = model.name if model.is_dir() else given["MODEL"]
    server = http.server.ThreadingHTTPServer((given["--host"], int(given["--port"])), Handler)
    print("INFO: Application startup complete.", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
