"""Scaling: between which numbers of replicas, and by how many requests in flight in each."""

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
    in_flight: float  # requests in flight in each replica, above which there is one more
    held_s: int = round(HELD_S)  # after a fall

    @property
    def words(self) -> str:
        """What it does, in a sentence."""
        return (
            f"From {self.least} to {self.most} replicas, of {self.in_flight:g} requests in flight "
            "each; an autoscaler reacts to a rise and does not foresee it, which the headroom of "
            "the plan has to carry."
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
    least, most = min(daily.replicas), max(daily.replicas)
    return Scaling(name, least, most, float(f"{daily.in_flight:.3g}"))
