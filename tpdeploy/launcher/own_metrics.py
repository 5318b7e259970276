"""What the engines of a deployment tell of themselves between two moments."""

from contextlib import suppress
from threading import Thread

import httpx

from tpdeploy.backends.base import Backend
from tpdeploy.backends.metrics import EngineMetrics, read_metrics
from tpdeploy.errors import TpdeployError
from tpdeploy.launcher.access import inner_key
from tpdeploy.launcher.commands import FRONT
from tpdeploy.launcher.runtimes.registry import runtime_of
from tpdeploy.launcher.state import Deployment, folder_of

TIMEOUT_S = 5.0


class OwnMetrics:
    """Reads the metrics of every replica: when made, at `begin` in the background, at `end`.

    In between nothing is parsed and no connection is made: that would hold up the client, which
    measures.
    """

    def __init__(self, deployment: Deployment, backend: Backend) -> None:
        self.names = backend.metrics
        replicas = [m for m in deployment.members if m.label != FRONT]
        path = backend.metrics.path if backend.metrics else ""
        self.urls = [runtime_of(m).address(m) + path for m in replicas]
        key = inner_key(folder_of(deployment.name))
        headers = {"Authorization": f"Bearer {key}"}
        self.client = httpx.Client(headers=headers, timeout=TIMEOUT_S, trust_env=False)
        self.before = [self._fetch()]
        self.reading: Thread | None = None

    def begin(self) -> None:
        """The warm-up is over: read them without holding up who calls; once."""
        if self.reading is None:
            self.reading = Thread(target=lambda: self.before.append(self._fetch()), daemon=True)
            self.reading.start()

    def end(self) -> dict[str, float]:
        """Means in ms of what was observed since the warm-up, over all replicas.

        With the warm-up where the measurement was over before they could be read; empty if the
        engines do not tell.
        """
        if self.reading is not None:
            self.reading.join()
        after = self._parse(self._fetch())
        self.client.close()
        for text in reversed(self.before):
            before = self._parse(text)
            if len(before) == len(after):
                names = self.names.histograms if self.names else ()
                found = {name: _between(name, before, after) for name in names}
                if told := {name: 1000 * mean for name, mean in found.items() if mean is not None}:
                    return told
        return {}

    def _fetch(self) -> list[str]:
        """The text of each replica, as far as they show one."""
        found = []
        with suppress(httpx.HTTPError):  # an engine may hide them
            for url in self.urls if self.names else ():
                found.append(self.client.get(url).raise_for_status().text)
        return found

    def _parse(self, texts: list[str]) -> list[EngineMetrics]:
        if self.names is None:
            return []
        with suppress(TpdeployError):
            return [read_metrics(text, self.names) for text in texts]
        return []


def _between(name: str, before: list[EngineMetrics], after: list[EngineMetrics]) -> float | None:
    """Mean in seconds over all replicas of what was observed in between; None if nothing was."""
    pairs = [(getattr(b, name), getattr(a, name)) for b, a in zip(before, after, strict=True)]
    seen = [a.since(b) for b, a in pairs if a is not None and b is not None]
    count = sum(each.count for each in seen)
    return sum(each.sum for each in seen) / count if count else None
