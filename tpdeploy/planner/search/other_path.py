"""What would be chosen if devices on PCIe reached each other as they are not taken to."""

from collections.abc import Sequence
from dataclasses import replace

from tpdeploy.planner.inputs import PlanInputs
from tpdeploy.planner.search.evaluation import Candidate
from tpdeploy.planner.search.turning_points import best_of_each_width, chosen, roughly
from tpdeploy.profiles.devices.catalog import on_other_path


def other_path(inputs: PlanInputs, ranked: Sequence[Candidate]) -> tuple[str, ...]:
    """The split that is chosen with P2P, or without, in words; none where it is the same one."""
    other = on_other_path(inputs.cluster)
    contenders = best_of_each_width(ranked)
    if other is None or inputs.optimize in {"cost", "goodput", "fewest", "daily"}:
        return ()
    there = replace(inputs, cluster=other)
    best = chosen(contenders, inputs)
    found = chosen([roughly(there, each.parallelism) for each in contenders], there, best)
    if found == best:
        return ()
    path = "With" if other.fabric.name.endswith("p2p") else "Without"
    return (f"{path} P2P between the GPUs (--interconnect {other.fabric.name}) {found}.",)
