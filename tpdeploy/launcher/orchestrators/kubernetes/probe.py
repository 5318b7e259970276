"""Whether an engine generates: run in its container, again and again, by the kubelet.

An engine that has lost a rank goes on to answer its health check, and never answers a request. So
it is asked for one token. It may be too busy to answer in time: then tokens that it has generated
for others meanwhile are a sign of life as well. Imports nothing of tpdeploy.

    python3 probe.py PORT MODEL SECONDS KEY_VARIABLE METRICS_PATH COUNTER,COUNTER
"""

import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence


def asked(url: str, key: str, body: bytes | None, timeout_s: float) -> str:
    """What is answered; a refusal is an answer as well.

    Raises:
        OSError: nothing in time, or that something is broken.
    """
    headers = {"Content-Type": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    try:
        request = urllib.request.Request(url, body, headers)  # noqa: S310 - of this pod
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:  # noqa: S310
            text: str = answer.read().decode(errors="replace")
            return text
    except urllib.error.HTTPError as error:
        if error.code >= 500:
            raise
        return ""


def counted(url: str, key: str, counters: set[str], timeout_s: float) -> list[str]:
    """The lines of the metrics with `counters`; empty where there are none."""
    try:
        lines = asked(url, key, None, timeout_s).splitlines()
    except OSError:
        return []
    return [line for line in lines if line.partition("{")[0].partition(" ")[0] in counters]


def main(words: Sequence[str]) -> int:
    """0: it lives."""
    port, model, seconds, variable, metrics, counters = words
    base, key = f"http://127.0.0.1:{port}", os.environ.get(variable, "")
    timeout_s, names = float(seconds), set(counters.split(","))
    before = counted(base + metrics, key, names, timeout_s / 4) if metrics else []
    body = json.dumps({"model": model, "prompt": ".", "max_tokens": 1}).encode()
    try:
        asked(f"{base}/v1/completions", key, body, timeout_s)
    except OSError as error:
        after = counted(base + metrics, key, names, timeout_s / 4) if metrics else []
        if before and after and before != after:
            return 0
        print(f"no token within {timeout_s:g} s: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
