#!/usr/bin/env python3
"""A `docker` that is none: `run` starts the command in a session of its own, as a daemon would.

The client ends with its container and forwards SIGTERM; killed, it leaves the container running,
which `rm --force NAME` ends.
"""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

VALUES = {"--name", "--network", "--ipc", "--gpus", "--env", "--volume", "--device"}


def home() -> Path:
    return Path(os.environ["STANDIN_DOCKER"])


def run(words: list[str]) -> int:
    name = words[words.index("--name") + 1]
    rest = list(words)
    while rest[0].startswith("--"):
        rest = rest[2:] if rest[0] in VALUES else rest[1:]
    image, *command = rest
    print(f"STAGE from {image}", flush=True)
    process = subprocess.Popen(command, start_new_session=True)
    (home() / name).write_text(str(process.pid))
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    return process.wait()


def remove(names: list[str]) -> int:
    for name in names:
        record = home() / name
        if record.exists():
            with suppress(ProcessLookupError):
                os.killpg(int(record.read_text()), signal.SIGKILL)
            record.unlink()
    return 0


if __name__ == "__main__":
    verb, *words = sys.argv[1:]
    sys.exit(run(words) if verb == "run" else remove(words[1:]))
