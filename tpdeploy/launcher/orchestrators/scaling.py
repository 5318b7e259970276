"""Scaling: between which numbers of replicas, and at what load of each there is one more."""

from dataclasses import dataclass

from tpdeploy.errors import InputError, nearest, shown
from tpdeploy.launcher.orchestrators.base import Task
from tpdeploy.planner.daily import HELD_S

OPTION = "autoscale"


@dataclass(frozen=True)
class Scaling:
    """What an autoscaler is told, from the day that the plan is for."""

    by: str  # the autoscaler
    least: int
    most: int
    requests_per_s: float  # of each replica, with headroom
    most_in_flight: float  # in each replica, at the highest rate within the targets
    in_flight: float  # where nothing but requests in flight is seen
    held_s: int = round(HELD_S)  # after a fall

    @property
    def words(self) -> str:
        """What it does, in a sentence."""
        return (
            f"From {self.least} to {self.most} replicas; an autoscaler reacts to a rise and does "
            "not foresee it, which the headroom of the plan has to carry."
        )


def scaling_of(task: Task, known: tuple[str, ...]) -> Scaling | None:
    """What was ordered, of the autoscalers that are `known` there; None: nothing.

    Raises:
        InputError: another autoscaler, or the plan is not for a day.
    """
    given = dict(option.partition("=")[::2] for option in task.order.on_options)
    name, daily = given.get(OPTION), task.plan.daily
    if name is None:
        return None
    if name not in known:
        raise InputError(f"--{OPTION} {shown(name)}: {nearest(name, known)}")
    if daily is None:
        raise InputError(f"--{OPTION} {name}: the plan is not for a day; plan with --daily FILE")
    return Scaling(
        by=name,
        least=min(daily.replicas),
        most=max(daily.replicas),
        requests_per_s=_rounded(daily.target_per_s),
        # Below one, a single request would ask for several replicas.
        most_in_flight=max(1.0, _rounded(daily.most_in_flight)),
        in_flight=max(1.0, _rounded(daily.in_flight)),
    )


def _rounded(load: float) -> float:
    return float(f"{load:.3g}")
