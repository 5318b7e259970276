"""A deployment as its pods show it: members, what each of them does, and whether all is well."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tpdeploy.launcher.orchestrators.base import View
from tpdeploy.launcher.orchestrators.kubernetes.objects import (
    COMPONENT,
    ENGINE_PORT,
    FRONT,
    FRONT_PORT,
    GROUP,
    RANK,
    REPLICA,
)
from tpdeploy.launcher.runtimes.member import Member, Phase

Json = dict[str, Any]

# A container that waits for one of these will not start by itself, or hardly.
HOPELESS = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}
    | {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
)
BACK_OFF = "CrashLoopBackOff"
# After so many ends in a row nobody counts on it any more; it is tried again all the same.
GIVEN_UP_AFTER = 3
LONGEST = 200
# The worst first: a member is as its worst pod is.
ORDER: tuple[Phase, ...] = ("crashed", "restarting", "starting", "ready")


@dataclass(frozen=True)
class Seen:
    """One pod now."""

    phase: Phase
    stage: str = ""
    end: str = ""
    restarts: int = 0
    placed: bool = True


@dataclass(frozen=True)
class Pods:
    """The pods of one member, its leader first, and how many there should be."""

    label: str
    wanted: int
    pods: list[Json] = field(default_factory=list)


def view_of(replicas: int, size: int, pods: Iterable[Json]) -> View:
    """The deployment of `replicas` replicas with `size` pods each, and a front."""
    members = tuple(map(_member, members_of(replicas, size, pods)))
    *engines, front = members
    ready = [member.label for member in engines if member.phase == "ready"]
    unwell = [member for member in members if member.phase in {"crashed", "restarting"}]
    reason = "; ".join(f"{m.label}: {m.last_end or m.stage}" for m in unwell)
    if len(ready) == len(engines) and front.phase == "ready":
        return View("ready", reason, members)
    if ready and front.phase == "ready":
        return View("degraded", reason or _starting(engines), members)
    return View("down" if unwell else "starting", reason, members)


def _starting(members: Sequence[Member]) -> str:
    words = [f"{m.label} is starting" for m in members if m.phase == "starting"]
    return "; ".join(words)


def members_of(replicas: int, size: int, pods: Iterable[Json]) -> list[Pods]:
    """Which pods are whose: groups by their number, single ones in the order of their making."""
    alive = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
    alive.sort(key=_made)
    engines = [pod for pod in alive if _labels(pod).get(COMPONENT) == REPLICA]
    found = [Pods(f"replica-{number}", size) for number in range(replicas)]
    if size > 1:
        for pod in sorted(engines, key=lambda pod: int(_labels(pod).get(RANK, 0))):
            number = int(_labels(pod).get(GROUP, 0))
            if number < replicas:
                found[number].pods.append(pod)
    else:
        for member, pod in zip(found, engines, strict=False):
            member.pods.append(pod)
    fronts = [pod for pod in alive if _labels(pod).get(COMPONENT) == FRONT]
    return [*found, Pods(FRONT, 1, fronts)]


def _made(pod: Json) -> tuple[str, str]:
    return pod["metadata"].get("creationTimestamp") or "", pod["metadata"]["name"]


def _labels(pod: Json) -> dict[str, str]:
    return pod["metadata"].get("labels") or {}


def _member(member: Pods) -> Member:
    seen = [look(pod) for pod in member.pods]
    front = member.label == FRONT
    if front and any(each.phase == "ready" for each in seen):  # one of them is enough
        seen = [each for each in seen if each.phase == "ready"]
    worst = min(seen, key=lambda each: ORDER.index(each.phase), default=Seen("starting"))
    if len(seen) < member.wanted and worst.phase == "ready":
        worst = Seen("starting", f"{len(seen)} of {member.wanted} pods are there")
    first = member.pods[0] if member.pods else {"metadata": {"name": ""}, "status": {}}
    begun = first["status"].get("startTime")
    placed = len(seen) >= member.wanted and all(each.placed for each in seen)
    return Member(
        label=member.label,
        runtime="kubernetes",
        host=first["status"].get("podIP") or "-",
        port=FRONT_PORT if front else ENGINE_PORT,
        phase=worst.phase,
        stage=worst.stage,
        last_end=worst.end,
        restarts=sum(each.restarts for each in seen),
        started_at=datetime.fromisoformat(begun) if begun and placed else None,
        reference=first["metadata"]["name"],
        healthy=worst.phase == "ready",
    )


def look(pod: Json) -> Seen:
    """What a pod's status says."""
    status = pod["status"]
    conditions = {each["type"]: each for each in status.get("conditions") or ()}
    container: Json = next(iter(status.get("containerStatuses") or ()), {})
    restarts = int(container.get("restartCount", 0))
    end = _end(container)
    if status.get("phase") == "Failed":
        words = status.get("message") or status.get("reason") or end or "it has failed"
        return Seen("crashed", _short(words), _short(words), restarts)
    if conditions.get("Ready", {}).get("status") == "True":
        return Seen("ready", "", end, restarts)
    placed = conditions.get("PodScheduled", {})
    if placed.get("status") == "False":
        words = placed.get("message") or placed.get("reason") or "unschedulable"
        return Seen("starting", _short(f"waits for a node: {words}"), placed=False)
    waiting = (container.get("state") or {}).get("waiting") or {}
    reason = waiting.get("reason", "")
    words = _short(f"{reason}: {waiting.get('message') or reason}")
    if reason in HOPELESS:
        return Seen("crashed", words, words, restarts)
    if reason == BACK_OFF:
        return Seen("crashed" if restarts >= GIVEN_UP_AFTER else "restarting", words, end, restarts)
    stage = "starts the engine" if "running" in (container.get("state") or {}) else "is being made"
    return Seen("restarting" if restarts else "starting", stage, end, restarts)


def _end(container: Json) -> str:
    """How it ended last."""
    ended = (container.get("lastState") or {}).get("terminated")
    if not ended:
        return ""
    reason = ended.get("reason", "")
    because = f" ({reason})" if reason not in {"", "Error"} else ""
    return f"ended with code {ended['exitCode']}{because}"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else f"{line[:LONGEST]} ..."
