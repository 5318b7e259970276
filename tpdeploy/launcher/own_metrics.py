"""What the engines of a deployment tell of themselves between two moments."""

from datetime import UTC, datetime
from threading import Thread

from tpdeploy.backends.base import Backend
from tpdeploy.launcher.figures import Look, fetched, mean_ms, observed, parsed
from tpdeploy.launcher.state import Deployment


class OwnMetrics:
    """Reads the metrics of every replica: when made, at `begin` in the background, at `end`.

    In between nothing is parsed and no connection is made: that would hold up the client, which
    measures.
    """

    def __init__(self, deployment: Deployment, backend: Backend) -> None:
        self.deployment, self.backend = deployment, backend
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
        after = self._parse(*self._fetch())
        for fetch in reversed(self.before):
            before = self._parse(*fetch)
            if before.replicas.keys() == after.replicas.keys():
                names = self.backend.metrics.histograms if self.backend.metrics else ()
                times = {n: observed([before, after], list(after.replicas), n) for n in names}
                means = {name: mean_ms(seen) for name, seen in times.items()}
                if told := {name: mean for name, mean in means.items() if mean is not None}:
                    return told
        return {}

    def _fetch(self) -> tuple[datetime, dict[str, str]]:
        """The text of each replica, as far as they show one, and when."""
        return datetime.now(UTC), fetched(self.deployment, self.backend)

    def _parse(self, at: datetime, texts: dict[str, str]) -> Look:
        return parsed(at, texts, self.backend)
