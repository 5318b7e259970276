"""Whether a member still does its work, seen from outside, in the background.

A server can accept connections and never answer, and an engine can say that it is well and generate
nothing. Under load its counters tell, and nothing is asked of it; when they stand still, it is
asked for one token.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from threading import Event, Thread

import httpx

from tpdeploy.backends.base import Backend
from tpdeploy.backends.metrics import read_metrics
from tpdeploy.errors import TpdeployError

EVERY_S = 5.0
PROBE_TIMEOUT_S = 10.0


class Liveness:
    """Looks for signs of life of one member until it is ended; `silent_s` tells how long in vain.

    What counts is the time spent looking: a machine that was asleep, or a supervisor that was
    stopped, takes nobody for dead.
    """

    def __init__(self, shows_life: Callable[[], bool], every_s: float = EVERY_S) -> None:
        self.shows_life = shows_life
        self.every_s = every_s
        self.silent_s = 0.0
        self.over = Event()
        Thread(target=self._look, daemon=True).start()

    def end(self) -> None:
        """Stop checking, without waiting for a check that is under way."""
        self.over.set()

    def _look(self) -> None:
        while not self.over.wait(self.every_s):
            begun = time.monotonic()
            if self.shows_life():
                self.silent_s = 0.0
            else:
                looked_s = min(time.monotonic() - begun, 2 * PROBE_TIMEOUT_S)
                self.silent_s += self.every_s + looked_s


class EngineLife:
    """Whether an engine at `url` has generated since it was last asked, or does when asked to."""

    def __init__(self, url: str, backend: Backend, model: str, key: str) -> None:
        self.url, self.backend, self.model = url, backend, model
        headers = {"Authorization": f"Bearer {key}"}
        # No connection is kept: one would look like a client's.
        limits = httpx.Limits(max_keepalive_connections=0)
        self.client = httpx.Client(
            headers=headers, timeout=PROBE_TIMEOUT_S, trust_env=False, limits=limits
        )
        self.before: tuple[float, ...] | None = None

    def __call__(self) -> bool:
        """Check once; takes up to twice PROBE_TIMEOUT_S."""
        with suppress(httpx.HTTPError):
            if self.backend.metrics is None:  # its load cannot be seen: a probe might have to queue
                return self.client.get(self.url + self.backend.health_path).is_success
            before, self.before = self.before, self._counted()
            return (before is not None and self.before != before) or self._generates()
        return False

    def _counted(self) -> tuple[float, ...] | None:
        """How many first and further tokens it has generated; None if it does not tell."""
        names = self.backend.metrics
        if names is None:
            return None
        with suppress(TpdeployError):
            read = read_metrics(self.client.get(self.url + names.path).text, names)
            times = tuple(seen.count for seen in (read.ttft, read.itl) if seen)
            return (*times, read.generated_tokens or 0.0)
        return None

    def _generates(self) -> bool:
        """Whether it answers a request for one token, be it that it refuses the request."""
        asked = {"model": self.model, "prompt": ".", "max_tokens": 1}
        answer = self.client.post(f"{self.url}/v1/completions", json=asked)
        return not answer.is_server_error
