"""What the engines of a deployment tell of themselves between two moments."""

from contextlib import suppress
from threading import Thread

import httpx

from tpdeploy.backends.base import Backend
from tpdeploy.backends.metrics import EngineMetrics, Summed, read_metrics
from tpdeploy.errors import TpdeployError
from tpdeploy.launcher.commands import ROUTER, url_of
from tpdeploy.launcher.ports import LOOPBACK
from tpdeploy.launcher.state import Deployment

TIMEOUT_S = 5.0


class OwnMetrics:
    """Reads the metrics of every replica: at `begin`, in the background, and at `end`."""

    def __init__(self, deployment: Deployment, backend: Backend) -> None:
        self.names = backend.metrics
        replicas = [m for m in deployment.members if m.label != ROUTER]
        path = backend.metrics.path if backend.metrics else ""
        self.urls = [url_of(LOOPBACK, m.port) + path for m in replicas]
        self.before: list[EngineMetrics] = []
        self.reading: Thread | None = None

    def begin(self) -> None:
        """Read them for the first time, without holding up who calls; later calls do nothing."""
        if self.reading is None:
            self.reading = Thread(target=lambda: self.before.extend(self._read()), daemon=True)
            self.reading.start()

    def end(self) -> dict[str, float]:
        """Means in ms of what was observed in between, over all replicas; empty if unknown."""
        if self.reading is None:
            return {}
        self.reading.join()
        after = self._read()
        if not self.before or len(after) != len(self.before):
            return {}
        found = {name: _between(name, self.before, after) for name in _histograms()}
        return {name: 1000 * mean for name, mean in found.items() if mean is not None}

    def _read(self) -> list[EngineMetrics]:
        if self.names is None:
            return []
        found = []
        with suppress(httpx.HTTPError, TpdeployError):  # an engine may hide them
            for url in self.urls:
                answer = httpx.get(url, timeout=TIMEOUT_S, trust_env=False).raise_for_status()
                found.append(read_metrics(answer.text, self.names))
        return found


def _histograms() -> list[str]:
    return [n for n, f in EngineMetrics.model_fields.items() if f.annotation == Summed | None]


def _between(name: str, before: list[EngineMetrics], after: list[EngineMetrics]) -> float | None:
    """Mean in seconds over all replicas of what was observed in between; None if nothing was."""
    pairs = [(getattr(b, name), getattr(a, name)) for b, a in zip(before, after, strict=True)]
    seen = [a.since(b) for b, a in pairs if a is not None and b is not None]
    count = sum(each.count for each in seen)
    return sum(each.sum for each in seen) / count if count else None
