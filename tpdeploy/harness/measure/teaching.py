"""Teaching: whether a run was as planned, and why plans do not learn from it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tpdeploy.harness.load.loops import Arrivals
from tpdeploy.harness.load.requests import Draw
from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.planner.trace import Trace
from tpdeploy.planner.workload import Workload
from tpdeploy.profiles.record import Record, Text

Kind = Literal[
    "not known",
    "endpoint",
    "tool",
    "engine",
    "plan",
    "engine arguments",
    "prefix hits",
    "speculation",
    "prompts",
    "shared prefix",
    "arrivals",
    "answer lengths",
    "failures",
]
# What a launch gives the engine; two plans that agree in it start the same deployment.
LAUNCHED = ("model", "cluster", "parallelism", "placement", "limits")
# Arguments that change what an engine says or where it reads from, not how fast it serves.
HARMLESS = frozenset(
    {
        "--chat-template",
        "--disable-uvicorn-access-log",
        "--download-dir",
        "--load-format",
        "--log-level",
        "--seed",
        "--trust-remote-code",
        "--uvicorn-log-level",
    }
)
# Share of the prompt by which a shared prefix may differ from the hits that a plan counts on.
SAME_HITS = 0.05


class Reason(Record):
    """Why a run teaches nothing, or is not what was predicted: for programs and in words."""

    kind: Kind
    why: Text


NOT_KNOWN = Reason(kind="not known", why="a run of which nothing says what it was of")


@dataclass(frozen=True)
class Launched:
    """A running deployment: what it was started with."""

    plan: DeploymentPlan
    backend: str
    engine_args: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sent:
    """The load, and how arrivals and prompts are drawn.

    `prompts` is a file of real ones instead; a `trace` says which come and when; `exact` whether
    the engine can force their length.
    """

    workload: Workload
    arrivals: Arrivals = "poisson"
    draw: Draw = field(default_factory=Draw)
    prompts: Path | None = None
    trace: Trace | None = None
    exact: bool = True


def why_not_learned(
    plan: DeploymentPlan, launched: Launched | None, sent: Sent, failed: int
) -> Reason | None:
    """The first reason not to learn from a run of `plan`; None if there is none."""
    reasons = [*_of_the_load(sent, launched), *_of_the_deployment(plan, launched)]
    if failed:
        reasons.append(Reason(kind="failures", why="a run with failed requests"))
    return reasons[0] if reasons else None


def not_comparable(sent: Sent, launched: Launched | None) -> Reason | None:
    """Why the prediction is not for what was sent, though it is for the plan's load."""
    load, draft = sent.workload, sent.workload.speculation
    shared = min(sent.draw.shared_prefix, load.input_tokens - 1) / load.input_tokens
    hits = load.prefix_hit_rate
    recorded = load.recording is not None and load.recording.block_tokens is not None
    if hits and sent.prompts is None and not recorded and abs(hits - shared) > SAME_HITS:
        why = (
            f"a plan that counts on {hits:.0%} of each prompt in the prefix cache, where the "
            f"prompts sent share {shared:.0%}"
        )
        return Reason(kind="prefix hits", why=why)
    if draft and launched and not any("spec" in arg for arg in launched.engine_args):
        why = f"a plan that counts on {draft.tokens} drafted tokens, where no drafter was started"
        return Reason(kind="speculation", why=why)
    return None


def speed_arguments(arguments: Iterable[str]) -> list[str]:
    """Those engine arguments that may change speed: all but a few known not to."""
    flags = [argument.partition("=")[0] for argument in arguments if argument.startswith("-")]
    return [flag for flag in flags if flag.replace("_", "-") not in HARMLESS]


def _of_the_load(sent: Sent, launched: Launched | None) -> Iterator[Reason]:
    other = not_comparable(sent, launched)
    if other:
        yield other
    elif sent.workload.speculation:
        why = "drafts of random prompts, which say nothing of real ones"
        yield Reason(kind="speculation", why=why)
    if sent.prompts:
        yield Reason(kind="prompts", why=f"prompts from a file: {sent.prompts}")
    if sent.draw.shared_prefix:
        why = f"prompts that share {sent.draw.shared_prefix:,} tokens"
        yield Reason(kind="shared prefix", why=why)
    if sent.workload.rate and sent.arrivals != "poisson":
        why = "arrivals at equal distances, where predictions are for random ones"
        yield Reason(kind="arrivals", why=why)
    if sent.trace:
        yield Reason(kind="arrivals", why="recorded arrivals, which are a load of their own")
    if not sent.exact:
        why = "answers whose length the engine cannot be made to keep"
        yield Reason(kind="answer lengths", why=why)


def _of_the_deployment(plan: DeploymentPlan, launched: Launched | None) -> Iterator[Reason]:
    if launched is None:
        why = "an endpoint given by its URL; nothing tells what runs there"
        yield Reason(kind="endpoint", why=why)
        return
    if launched.backend != plan.backend:
        why = f"a plan for {plan.backend} that was launched with {launched.backend}"
        yield Reason(kind="engine", why=why)
    others = [name for name in LAUNCHED if getattr(plan, name) != getattr(launched.plan, name)]
    if others:
        why = f"a deployment launched with another plan (other {', '.join(others)})"
        yield Reason(kind="plan", why=why)
    arguments = speed_arguments(launched.engine_args)
    if arguments:
        why = f"engine arguments that change speed: {', '.join(arguments)}"
        yield Reason(kind="engine arguments", why=why)
