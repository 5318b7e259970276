"""From a question to the plan that answers it, or to why there is none and what would work."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

from tpdeploy.backends.base import Backend
from tpdeploy.backends.choice import Choice, ask_one, choose
from tpdeploy.backends.inputs import pose
from tpdeploy.backends.registry import load_backend, load_backends
from tpdeploy.errors import InfeasibleError, InputError
from tpdeploy.planner.daily import DailyLoad
from tpdeploy.planner.inputs import PlanInputs
from tpdeploy.planner.plan import DeploymentPlan, Refused
from tpdeploy.planner.request import Request
from tpdeploy.planner.search.daily import search_day
from tpdeploy.planner.search.goodput import search_goodput
from tpdeploy.planner.search.other_path import other_path
from tpdeploy.planner.search.pareto import sweep
from tpdeploy.planner.search.recorded import cache_words, under_recording
from tpdeploy.planner.search.remedies import remedies
from tpdeploy.planner.search.search import Outcome, Solved, alternatives
from tpdeploy.planner.search.search import plan as make_plan
from tpdeploy.planner.search.token_budget import fewest_with_steps, search_steps
from tpdeploy.planner.search.turning_points import turning_points
from tpdeploy.planner.trace import Trace
from tpdeploy.planner.workload import Workload
from tpdeploy.profiles.devices.cluster import Cluster
from tpdeploy.profiles.devices.instances import find_instance
from tpdeploy.profiles.machine.gpus_spec import counts_and_name
from tpdeploy.profiles.models.shape import ModelShape

AUTO = "auto"


@dataclass(frozen=True)
class Decision:
    """The engine that was chosen, its answer, and how it was searched for."""

    choice: Choice
    solve: Callable[[PlanInputs], Solved]
    trace: Trace | None = None  # as which requests come; None: in the load's own way

    @cached_property
    def outcome(self) -> Outcome:
        """The splits as they are ranked, under the requests of the trace if there is one."""
        inputs, outcome = self.choice.solved
        return under_recording(inputs, outcome, self.trace) if self.trace else outcome

    def plan(self, *, assumed: str = "", pareto: bool = False) -> DeploymentPlan:
        """The plan, with the loads at which it turns, and `assumed`, which nobody stated.

        Raises:
            InfeasibleError: there is none.
        """
        inputs, outcome = self.choice.solved[0], self.outcome
        made = make_plan(inputs, outcome)
        lengths, recording = inputs.workload.lengths, inputs.workload.recording
        # Recorded requests are one load: there are no others to turn at.
        turns = () if recording else turning_points(inputs, outcome.ranked)
        linked = () if recording else other_path(inputs, outcome.ranked)
        source = recording or lengths
        caches = cache_words(inputs, outcome.ranked)
        told = (source.words if source else "", caches, assumed)
        depends_on = (*turns, *linked, *(words for words in told if words))
        made = made.changed(engines=self.choice.engines, depends_on=depends_on)
        return made.changed(pareto=sweep(inputs, outcome.ranked)) if pareto else made

    def refused(self, refusal: InfeasibleError) -> Refused:
        """What each split came to, and what was found to work instead."""
        inputs, outcome = self.choice.solved[0], self.outcome
        told = self.trace or outcome.daily
        found = [] if told else remedies(inputs, outcome, self.solve)
        works = f"; what would work: {', or '.join(found)}" if found else ""
        return Refused(
            reason=f"{refusal}{works}",
            alternatives=alternatives(inputs, outcome),
            daily=outcome.daily,
        )


def decide(
    request: Request,
    stored: ModelShape,
    *,
    cluster: Cluster,
    count_is_open: bool,
    load: Workload,
    backend: str,
    among: Sequence[Backend] = (),
    trace: Trace | None = None,
    day: DailyLoad | None = None,
) -> Decision:
    """The answer of the engine `backend`, or of the best one `among` some, or of all.

    With `count_is_open` it takes as few devices as carry the load. With a `trace`, of which `load`
    is the mean, the best splits are ranked by what they do under it. With a `day`, of which it
    is the peak, they are ranked by the GPU-hours that the day takes.

    Raises:
        InputError: what was asked cannot be had here, from any engine.
    """
    if day:
        request = request.changed(optimize="daily")
    if trace and count_is_open:
        raise InputError("--trace: give the number of GPUs, as 8xH100; it is not searched for")

    def ask(engine: Backend) -> PlanInputs:
        return pose(request, stored, cluster, load, engine)

    solve = _search(request, load, day, count_is_open=count_is_open)
    if backend != AUTO:
        return Decision(ask_one(load_backend(backend), ask, solve), solve, trace)
    return Decision(choose(among or load_backends()[0], ask, solve), solve, trace)


def _search(
    request: Request, load: Workload, day: DailyLoad | None, *, count_is_open: bool
) -> Callable[[PlanInputs], Solved]:
    if day or request.optimize == "goodput":
        what = "--daily" if day else "optimize goodput"
        if load.ttft is None and load.tpot is None:
            raise InputError(f"{what}: needs a target for TTFT or TPOT")
        if count_is_open:
            raise InputError(f"{what}: say how many devices there are, as 8xH100")
        return partial(search_day, load=day) if day else search_goodput
    if request.optimize == "daily":
        raise InputError("optimize daily: give the day, as daily=FILE")
    return fewest_with_steps if count_is_open else search_steps


def leaves_count_open(gpus: str, cluster: Cluster) -> bool:
    """Whether `gpus` names a GPU without saying how many, as H100."""
    stated = cluster.origin == "stated" and cluster.accelerator.platform != "cpu"
    several = "+" in gpus or bool(counts_and_name(gpus)[0])
    known = several or find_instance(gpus) is not None
    return stated and not cluster.fabric.isolated and not known
