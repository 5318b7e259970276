"""What the engines of a deployment report of their work, and a record of the recent past.

The record is a file of the deployment's folder, one line for each look, bounded in size.
"""

import asyncio
import json
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from threading import Thread

import httpx
from pydantic import AwareDatetime, Field

from tpdeploy.backends.base import Backend
from tpdeploy.backends.metrics import EngineMetrics, Summed, read_metrics
from tpdeploy.errors import TpdeployError
from tpdeploy.files import append_privately, write_whole
from tpdeploy.launcher.access import inner_key
from tpdeploy.launcher.commands import FRONT
from tpdeploy.launcher.exposition import expose
from tpdeploy.launcher.logs import last_lines
from tpdeploy.launcher.runtimes.registry import runtime_of
from tpdeploy.launcher.state import Deployment, folder_of
from tpdeploy.profiles.record import Record

INTERVAL_S = 10.0
TIMEOUT_S = 5.0
# A line has about 250 bytes per replica: an hour of 40 replicas.
MOST_BYTES = 4 * 2**20
# What is kept of each replica.
KEPT = {"ttft", "tpot", "running", "waiting", "kv_use", "generated_tokens"}

log = logging.getLogger(__name__)


class Look(Record):
    """What each replica that answered reported at one moment; counts begin when it starts."""

    at: AwareDatetime
    replicas: dict[str, EngineMetrics]


class Load(Record):
    """What a replica, or all of them, do: requests now, and means of the time before."""

    running: float | None = Field(default=None, description="requests in steps now")
    waiting: float | None = Field(default=None, description="requests that wait for their first")
    kv_use: float | None = Field(default=None, description="share of the KV cache in use")
    output_tokens_per_s: float | None = None
    ttft_ms: float | None = Field(default=None, description="mean")
    tpot_ms: float | None = Field(default=None, description="mean")
    requests_per_s: float | None = Field(default=None, description="first tokens")


def look(deployment: Deployment, backend: Backend) -> Look:
    """The figures of every replica that answers within TIMEOUT_S."""
    at = datetime.now(UTC)
    return parsed(at, fetched(deployment, backend), backend)


def fetched(deployment: Deployment, backend: Backend) -> dict[str, str]:
    """The metrics of every replica that answers within TIMEOUT_S, as they arrive."""
    names = backend.metrics
    replicas = [member for member in deployment.members if member.label != FRONT]
    if names is None or not replicas:
        return {}
    urls = {m.label: runtime_of(m).address(m) + names.path for m in replicas}
    return asyncio.run(_fetched(urls, inner_key(folder_of(deployment.name))))


def parsed(at: datetime, texts: Mapping[str, str], backend: Backend) -> Look:
    """What the `texts` of replicas told at that time."""
    told = {}
    for label, text in texts.items():
        with suppress(TpdeployError):
            if backend.metrics:
                told[label] = read_metrics(text, backend.metrics)
    return Look(at=at, replicas=told)


async def _fetched(urls: Mapping[str, str], key: str) -> dict[str, str]:
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(headers=headers, timeout=TIMEOUT_S, trust_env=False) as client:
        asked = {label: asyncio.create_task(client.get(url)) for label, url in urls.items()}
        done, late = await asyncio.wait(asked.values(), timeout=TIMEOUT_S)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
    return {
        label: task.result().text
        for label, task in asked.items()
        if task in done and task.exception() is None and task.result().is_success
    }


def path_of(name: str) -> Path:
    """The record of the deployment called `name`."""
    return folder_of(name) / "figures.jsonl"


def sample(deployment: Deployment, backend: Backend) -> None:
    """Look once and keep it, and write what the front shows of the deployment.

    Takes seconds at most and raises nothing: it is only a record.
    """
    try:
        _keep(path_of(deployment.name), look(deployment, backend))
        expose(deployment)
    except Exception:
        log.exception("the engines' figures were not kept")


def _keep(path: Path, seen: Look) -> None:
    replicas = {
        label: metrics.model_dump(include=KEPT, exclude_none=True)
        for label, metrics in seen.replicas.items()
    }
    line = json.dumps({"at": seen.at.isoformat(timespec="milliseconds"), "replicas": replicas})
    with append_privately(path) as file:
        file.write(f"{line}\n".encode())
    if path.stat().st_size > MOST_BYTES:
        write_whole(path, "".join(f"{kept}\n" for kept in last_lines(path, MOST_BYTES // 2)))


def kept(deployment: Deployment, seconds: float) -> list[Look]:
    """The looks at this deployment in the last `seconds`, in order; none of an earlier launch."""
    since = max(deployment.started_at, datetime.now(UTC) - timedelta(seconds=seconds))
    found: list[Look] = []
    for line in reversed(last_lines(path_of(deployment.name), MOST_BYTES)):
        try:
            one = Look.model_validate_json(line)
        except ValueError:  # a full disk cuts lines
            continue
        if one.at < since:
            break
        found.append(one)
    return found[::-1]


class Sampler:
    """Keeps a look each INTERVAL_S, in the background: who watches is not held up."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.due = 0.0
        self.looking: Thread | None = None

    def tick(self, deployment: Deployment) -> None:
        """Called as often as one likes; returns at once."""
        busy = self.looking is not None and self.looking.is_alive()
        if busy or time.monotonic() < self.due:
            return
        self.due = time.monotonic() + INTERVAL_S
        self.looking = Thread(target=sample, args=(deployment, self.backend), daemon=True)
        self.looking.start()


def load_between(before: Look | None, after: Look, labels: Sequence[str]) -> Load:
    """What the replicas `labels` do together at `after`, and have done since `before`."""
    now = [after.replicas[label] for label in labels if label in after.replicas]
    shares = [m.kv_use for m in now if m.kv_use is not None]
    found = Load(
        running=_sum(m.running for m in now),
        waiting=_sum(m.waiting for m in now),
        kv_use=sum(shares) / len(shares) if shares else None,
    )
    if before is None:
        return found
    seconds = (after.at - before.at).total_seconds()
    ttft, tpot = (observed([before, after], labels, field) for field in ("ttft", "tpot"))
    tokens = _sum(
        _grown(before.replicas[label].generated_tokens, after.replicas[label].generated_tokens)
        for label in labels
        if label in before.replicas and label in after.replicas
    )
    return found.changed(
        output_tokens_per_s=None if tokens is None else tokens / seconds,
        ttft_ms=mean_ms(ttft),
        tpot_ms=mean_ms(tpot),
        requests_per_s=None if ttft is None else ttft.count / seconds,
    )


def observed(looks: Sequence[Look], labels: Sequence[str], field: str) -> Summed | None:
    """What the histogram `field` took in from the first look to the last, over restarts."""
    found = []
    for label in labels:
        told = [getattr(each.replicas[label], field) for each in looks if label in each.replicas]
        known = [each for each in told if each is not None]
        found += [_since(b, a) for b, a in pairwise(known)]
    if not found:
        return None
    return Summed(count=sum(each.count for each in found), sum=sum(each.sum for each in found))


def _since(before: Summed, after: Summed) -> Summed:
    """What was observed in between; who has less now was started anew."""
    anew = after.count < before.count or after.sum < before.sum
    return after if anew else after.since(before)


def _grown(before: float | None, after: float | None) -> float | None:
    if before is None or after is None:
        return None
    return after if after < before else after - before


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def mean_ms(times: Summed | None) -> float | None:
    """The mean of what was observed; None if nothing was."""
    return 1000 * times.sum / times.count if times and times.count >= 1 else None
