"""Run a script on each of several machines by ssh, all or none.

Usage: python -m tpdeploy.launcher.runtimes.remote [--key NAME] --beat SECONDS HOST=FILE ...

The scripts go through standard input, which stays open as long as this process lives: a script
ends when its input does. An empty line every `--beat` seconds tells it that this machine is still
there, for no end of the input comes from one that has lost its power or its network. When one of
them ends, or this process is asked to, all of them end. `--key NAME` sends that variable of this
process along, so that it shows on no command line.
"""

import argparse
import os
import shlex
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from subprocess import Popen

SSH = (
    *("ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10"),
    *("-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=3"),
)
POLL_S = 0.2
# What a script takes to end what it has started, and ssh to notice a machine that is gone.
END_TIMEOUT_S = 30.0

_asked: list[int] = []


def main() -> int:
    """The exit code of the script that ended first; 0 if this process was asked to end."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--key", action="append", default=[])
    parser.add_argument("--beat", type=float, required=True)
    parser.add_argument("parts", nargs="+", metavar="HOST=FILE")
    given = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: _asked.append(number))
    keys = "".join(f"export {name}={shlex.quote(os.environ.get(name, ''))}\n" for name in given.key)
    pairs = [part.split("=", 1) for part in given.parts]
    running = [_started(host, keys + Path(file).read_text("utf-8")) for host, file in pairs]
    code = _first_end(running, given.beat)
    for one in running:
        with suppress(BrokenPipeError):
            if one.stdin:
                one.stdin.close()
    deadline = time.monotonic() + END_TIMEOUT_S
    while any(one.poll() is None for one in running) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    for (host, _), one in zip(pairs, running, strict=True):
        if one.poll() is None:
            print(f"{host} does not answer: what runs there may not have ended", flush=True)
            one.kill()
    return code


def _first_end(running: list[Popen[str]], beat_s: float) -> int:
    """Wait until one has ended, or all are to: its exit code. Meanwhile, show that we live."""
    beat = time.monotonic() + beat_s
    while not _asked:
        for one in running:
            if one.poll() is not None:
                return one.returncode
        if time.monotonic() >= beat:
            beat = time.monotonic() + beat_s
            for one in running:
                _tell(one, "\n")
        time.sleep(POLL_S)
    return 0


def _started(host: str, script: str) -> Popen[str]:
    """The client of one machine, in a session of its own: it ends last, when its script has.

    Who ends this process asks all that it started to end; ssh would, and leave the script alone.
    """
    client = Popen(
        [*SSH, host, "bash -s"],
        stdin=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN),  # noqa: PLW1509
    )
    _tell(client, script)
    return client


def _tell(client: Popen[str], text: str) -> None:
    """Write to its standard input; one that has ended says why, and is found to have."""
    with suppress(BrokenPipeError):
        if client.stdin:
            client.stdin.write(text)
            client.stdin.flush()


if __name__ == "__main__":
    sys.exit(main())
