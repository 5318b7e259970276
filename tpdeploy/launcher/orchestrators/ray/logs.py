"""What the replicas of an application wrote, as the nodes of the cluster keep it."""

import heapq
import queue
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping

from tpdeploy.errors import TpdeployError
from tpdeploy.launcher.orchestrators.ray.dashboard import OUTPUTS, Dashboard
from tpdeploy.launcher.timeline import Clock, Line, clean

Actors = Mapping[str, str]  # what Ray calls the process of each member


def last(dashboard: Dashboard, actors: Actors, lines: int) -> list[Line]:
    """The last `lines` of all of them together, in the order of time."""
    told = [
        _timed(member, dashboard.written(actor, output, lines))
        for member, actor in actors.items()
        for output in OUTPUTS
    ]
    return list(deque(heapq.merge(*told, key=lambda line: line.at), maxlen=lines))


def growing(dashboard: Dashboard, actors: Actors, lines: int) -> Iterator[Line]:
    """Lines as they are written, for as long as somebody reads; first the last `lines` of each."""
    found: queue.SimpleQueue[Line | TpdeployError] = queue.SimpleQueue()

    def read(member: str, actor: str, output: str) -> None:
        try:
            for text in dashboard.writes(actor, output, lines):
                found.put(Line(time.time(), member, clean(text)))
        except TpdeployError as error:
            found.put(error)

    for member, actor in actors.items():
        for output in OUTPUTS:
            threading.Thread(target=read, args=(member, actor, output), daemon=True).start()
    while True:
        line = found.get()
        if isinstance(line, TpdeployError):
            raise line
        yield line


def _timed(member: str, texts: list[str]) -> Iterator[Line]:
    clock = Clock(0.0, time.time())
    for text in map(clean, texts):
        yield Line(clock.tell(text), member, text)
