"""A deployment as it is right now: who answers, what its engines do, and what the plan said."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from pydantic import Field

from tpdeploy.backends.registry import load_backend
from tpdeploy.errors import TpdeployError
from tpdeploy.launcher.commands import FRONT
from tpdeploy.launcher.drift import MOST_WINDOWS, WINDOW, drifts
from tpdeploy.launcher.figures import Load, Look, kept, load_between, look
from tpdeploy.launcher.orchestrated import look as look_at
from tpdeploy.launcher.runtimes.member import Member
from tpdeploy.launcher.runtimes.registry import runtime_of
from tpdeploy.launcher.state import Deployment, folder_of
from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.records import read_record

# Rates and means are of the last minute; drift, of all that is kept for it.
LATELY_S = 60.0
LEAST_S = 5.0
PAST_S = (MOST_WINDOWS + 1) * WINDOW.total_seconds()
MOST_ASKED_AT_ONCE = 32
# A member in one of these phases is not expected to answer.
NOT_YET = {"starting", "restarting"}
ENDED = {"failed", "crashed", "stopped"}


class Seen(Deployment):
    """A deployment with what can be seen now; `phase` and `reason` say what is true now."""

    serving: bool = Field(description="whether a client gets an answer")
    gone: tuple[str, ...] = Field(description="members that no longer run, unknown to the state")
    load: Load = Field(default=Load(), description="all replicas together")
    loads: dict[str, Load] = Field(default={}, description="each replica that tells")
    planned: Load | None = Field(description="what the plan predicts, means; None: no plan")
    drift: tuple[str, ...] = Field(default=(), description="what is slower than planned, in words")

    @property
    def well(self) -> bool:
        """Whether every member is there and answers."""
        return self.phase == "ready" and self.serving


def see(deployment: Deployment, past: Sequence[Look] = ()) -> tuple[Seen, Look | None]:
    """Look at `deployment`; `past` are earlier looks of the caller's. Takes seconds at most.

    Also what its engines told, for the next look; None if they cannot be asked.
    """
    if deployment.orchestrator:
        return _in_cluster(deployment), None
    members, gone = _asked(deployment)
    healthy = {member.label for member in members if member.healthy}
    replicas = [member.label for member in members if member.label != FRONT]
    now = _look(deployment, [m for m in members if m.healthy])
    plan = _plan(deployment)
    serving = FRONT in healthy and bool(healthy & set(replicas))
    truth: dict[str, Any] = {
        **_truth(deployment, members, gone, serving=serving),
        "members": members,
        "serving": serving,
        "gone": gone,
        "planned": _planned(plan) if plan else None,
    }
    if now:
        before = sorted([*kept(deployment, PAST_S), *past], key=lambda each: each.at)
        truth |= _loads(_lately(before, now), now, replicas)
        truth["drift"] = drifts([*before, now], plan) if plan else ()
    return Seen(**{**dict(deployment), **truth}), now


def _in_cluster(deployment: Deployment) -> Seen:
    """As its orchestrator sees it; its members are not asked from here."""
    try:
        seen = look_at(deployment)
    except TpdeployError as error:
        seen = deployment.changed(phase="down", reason=str(error))
    plan = _plan(deployment)
    return Seen(
        **dict(seen),
        serving=seen.phase in {"ready", "degraded"},
        gone=(),
        planned=_planned(plan) if plan else None,
    )


def _loads(before: Look | None, now: Look, replicas: Sequence[str]) -> dict[str, Any]:
    each = {name: load_between(before, now, [name]) for name in replicas if name in now.replicas}
    return {"load": load_between(before, now, replicas), "loads": each}


def _asked(deployment: Deployment) -> tuple[tuple[Member, ...], tuple[str, ...]]:
    """The members with their health, and which of them are gone without the state's knowledge."""

    def ask(member: Member) -> tuple[Member, bool]:
        runtime = runtime_of(member)
        runs = runtime.observe(member).runs
        answers = runs and runtime.answers(member)
        expected = member.known_as != "-" and member.phase not in ENDED | {"restarting"}
        return member.changed(healthy=answers), expected and not runs

    with ThreadPoolExecutor(MOST_ASKED_AT_ONCE) as pool:
        told = list(pool.map(ask, deployment.members))
    return tuple(m for m, _ in told), tuple(m.label for m, is_gone in told if is_gone)


def _truth(
    deployment: Deployment, members: Sequence[Member], gone: Sequence[str], *, serving: bool
) -> dict[str, str]:
    """Phase and reason: those of the state, unless what is seen says otherwise."""
    if not deployment.supervised:
        return {"phase": "orphaned"}
    if deployment.phase not in {"ready", "degraded"}:
        return {}
    unwell = [m for m in members if not m.healthy and m.phase != "stopped"]
    if not unwell:
        return {}
    silent = [m.label for m in unwell if m.phase not in NOT_YET | ENDED]
    words = [f"{name} {'is gone' if name in gone else 'does not answer'}" for name in silent]
    reason = "; ".join(word for word in (deployment.reason, *words) if word)
    return {"phase": "degraded" if serving else "down", "reason": reason}


def _look(deployment: Deployment, well: Sequence[Member]) -> Look | None:
    """What the engines that are well tell; None if their backend is no longer installed."""
    with suppress(TpdeployError):
        asked = deployment.changed(members=tuple(well))
        return look(asked, load_backend(deployment.backend))
    return None


def _lately(before: Sequence[Look], now: Look) -> Look | None:
    """The look to compare with: the first of the last minute that is not too close."""
    ages = [((now.at - each.at).total_seconds(), each) for each in before]
    return next((each for age, each in ages if LEAST_S <= age <= LATELY_S), None)


def _plan(deployment: Deployment) -> DeploymentPlan | None:
    with suppress(TpdeployError):
        return read_record(folder_of(deployment.name) / "plan.yaml", DeploymentPlan)
    return None


def _planned(plan: DeploymentPlan) -> Load:
    told = plan.prediction
    return Load(
        running=plan.workload.concurrency,
        output_tokens_per_s=told.output_tokens_per_s.value,
        ttft_ms=told.ttft_distribution.mean,
        tpot_ms=told.tpot_distribution.mean,
        requests_per_s=told.requests_per_s.value,
    )
