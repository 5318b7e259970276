"""What pods show of a deployment."""

from typing import Any

from tpdeploy.launcher.orchestrators.kubernetes.objects import COMPONENT, GROUP, RANK
from tpdeploy.launcher.orchestrators.kubernetes.view import view_of

Json = dict[str, Any]


def pod(name: str, component: str = "replica", *, ready: bool = True, **more: Any) -> Json:
    """One that runs, unless `more` says otherwise of its status or its container."""
    labels = {COMPONENT: component, **more.pop("labels", {})}
    meta = {"name": name, "labels": labels, "creationTimestamp": more.pop("made", "2026-11-26")}
    container = {"restartCount": more.pop("restarts", 0), "state": {"running": {}}}
    container |= more.pop("container", {})
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    status = {"phase": "Running", "conditions": conditions, "startTime": "2026-11-26T12:00:00Z"}
    return {
        "metadata": {**meta, **more.pop("meta", {})},
        "status": {**status, "containerStatuses": [container], **more},
    }


def group(number: int, rank: int, **more: Any) -> Json:
    return pod(f"g-{number}-{rank}", labels={GROUP: str(number), RANK: str(rank)}, **more)


FRONT = pod("f-a", "front")


def test_all_are_there() -> None:
    """A member for each replica, numbered as they were made, and the front."""
    view = view_of(2, 1, [FRONT, pod("b", made="2"), pod("z", made="1")])
    assert view.phase == "ready"
    found = [(member.label, member.reference) for member in view.members]
    assert found == [("replica-0", "z"), ("replica-1", "b"), ("front", "f-a")]


def test_one_front_of_two_is_enough() -> None:
    """The other one is being moved."""
    view = view_of(1, 1, [pod("a"), FRONT, pod("f-b", "front", ready=False)])
    assert view.phase == "ready"


def test_pods_that_are_leaving_are_none() -> None:
    """Their successors are what counts."""
    gone = pod("a", meta={"deletionTimestamp": "2026-11-26T12:00:00Z"})
    view = view_of(1, 1, [gone, FRONT])
    assert view.phase == "starting"
    assert view.members[0].reference == ""
    assert view.members[0].started_at is None


def test_a_replica_that_comes_back_leaves_it_degraded() -> None:
    """With how it ended, and how often."""
    ended = {"lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}
    unwell = pod("b", made="3", ready=False, restarts=2, container=ended)
    view = view_of(2, 1, [pod("a", made="1"), unwell, FRONT])
    assert view.phase == "degraded"
    assert view.reason == "replica-1: ended with code 137 (OOMKilled)"
    assert (view.members[1].phase, view.members[1].restarts) == ("restarting", 2)


def test_without_a_front_nobody_is_served() -> None:
    """Whatever the replicas do."""
    assert view_of(1, 1, [pod("a")]).phase == "starting"


def test_a_group_is_as_its_worst_pod() -> None:
    """Its leader stands for it; a rank that is missing or ended makes it unready."""
    whole = [group(0, 1), group(0, 0), group(1, 0), group(1, 1), FRONT]
    view = view_of(2, 2, whole)
    assert view.phase == "ready"
    assert [member.reference for member in view.members] == ["g-0-0", "g-1-0", "f-a"]
    view = view_of(2, 2, [each for each in whole if each["metadata"]["name"] != "g-1-1"])
    assert view.phase == "degraded"
    assert view.members[1].stage == "1 of 2 pods are there"
    failed = group(1, 1, phase="Failed", reason="Evicted", message="low on memory", ready=False)
    view = view_of(2, 2, [*whole[:3], failed, FRONT])
    assert (view.members[1].phase, view.members[1].last_end) == ("crashed", "low on memory")
