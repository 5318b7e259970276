"""What a report tells, gathered before anything is drawn."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from tpdeploy.harness.measure.sweep import Point, SweepReport
from tpdeploy.planner.inputs import PlanInputs
from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.performance.communication import WidthCost, cost_by_width
from tpdeploy.planner.plan import DeploymentPlan, Prediction
from tpdeploy.planner.search.replay import curve, load_of, predict_plan, predict_split
from tpdeploy.planner.workload import Workload

# Other splits whose curves are drawn beside the chosen one's.
MOST_OTHERS = 3
# A load is served if a split gives so much of the tokens/s that it asks for; one of requests in
# flight, which takes what it gets, if it adds as much to what the one before got.
SERVED, ADDED = 0.95, 0.02


@dataclass(frozen=True)
class Curve:
    """One split under rising load."""

    parallelism: Parallelism
    loads: tuple[float, ...]
    predictions: tuple[Prediction, ...]
    closed: bool

    @property
    def served(self) -> int:
        """How many of the loads, from the lightest on, the split serves; heavier ones wait."""
        tokens = [prediction.output_tokens_per_s.value for prediction in self.predictions]
        steps = zip(pairwise(self.loads), pairwise(tokens), strict=False)
        for count, ((load, more), (before, after)) in enumerate(steps, start=1):
            least = 1 + ADDED if self.closed else SERVED * more / load
            if after < least * before:
                return count
        return len(tokens)

    def until(self, count: int) -> "Curve":
        """Its first `count` loads."""
        return replace(self, loads=self.loads[:count], predictions=self.predictions[:count])


@dataclass(frozen=True)
class Content:
    """A plan, its curve and those of other splits, step times by width, and a sweep if any."""

    plan: DeploymentPlan
    chosen: Curve
    others: tuple[Curve, ...]
    widths: tuple[WidthCost, ...]
    sweep: SweepReport | None
    most: float | None  # output tokens/s where heavier loads than those of the curve only wait

    @property
    def points(self) -> tuple[Point, ...]:
        """What was measured, lightest load first."""
        return self.sweep.points if self.sweep else ()

    @property
    def device(self) -> str:
        """What a reader calls one device."""
        return "CPU share" if self.plan.cluster.platform == "cpu" else "GPU"

    @property
    def load_axis(self) -> str:
        """What the loads of the curves count."""
        return "Requests in flight" if self.plan.workload.rate is None else "Requests/s offered"


def gather(inputs: PlanInputs, plan: DeploymentPlan, sweep: SweepReport | None = None) -> Content:
    """Everything about `plan`, which answers `inputs`, and about its `sweep`."""
    loads, closed = _loads(plan.workload, sweep), plan.workload.rate is None
    axis = tuple(load_of(load) for load in loads)
    whole = Curve(plan.parallelism, axis, predict_plan(inputs, plan, loads), closed)
    measured = [load_of(point.workload) for point in sweep.points] if sweep else []
    needed = max([load_of(plan.workload), *measured])
    chosen = whole.until(max(whole.served, sum(load <= needed for load in axis)))
    heaviest = whole.predictions[-1].output_tokens_per_s.value
    return Content(
        plan=plan,
        chosen=chosen,
        others=tuple(_other(inputs, split, loads) for split in _simulated(plan)),
        widths=cost_by_width(inputs, plan),
        sweep=sweep,
        most=heaviest if len(chosen.loads) < len(axis) else None,
    )


def _loads(planned: Workload, sweep: SweepReport | None) -> Sequence[Workload]:
    """The loads around the plan's, or, where there are several measured ones, those."""
    if sweep is None or len(sweep.points) == 1:
        return curve(planned)
    return [point.workload for point in sweep.points]


def _simulated(plan: DeploymentPlan) -> list[Parallelism]:
    fields = set(Parallelism.model_fields)
    simulated = [a for a in plan.alternatives if a.output_tokens_per_s is not None]
    return [
        Parallelism.model_validate(other.model_dump(include=fields))
        for other in simulated[:MOST_OTHERS]
    ]


def _other(inputs: PlanInputs, split: Parallelism, loads: Sequence[Workload]) -> Curve:
    predictions = predict_split(inputs, split, loads)
    axis = tuple(load_of(load) for load in loads[: len(predictions)])
    return Curve(split, axis, predictions, inputs.workload.rate is None)
