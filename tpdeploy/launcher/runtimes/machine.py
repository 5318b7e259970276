"""Whether this machine has the devices that a plan is for."""

from tpdeploy.errors import InputError
from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.profiles.machine.detect import detect


def check_machine(plan: DeploymentPlan) -> None:
    """Check that this machine has the devices of the plan.

    Raises:
        InputError: it has fewer, or none of their kind; the engine would say so much later.
    """
    if plan.cluster.platform != "cuda":
        return  # every machine has a CPU, and other devices are not detected
    here = detect()
    if here.accelerator.platform != "cuda":
        raise InputError(
            f"the plan is for {plan.cluster.count}x {plan.cluster.gpu}, this machine shows no "
            "NVIDIA GPU; plan for what it has: --gpus auto"
        )
    wanted = 1 + max(device for place in plan.placement for device in place.devices)
    if here.count < wanted:
        raise InputError(
            f"the plan uses {wanted} GPUs, this machine shows {here.count}; "
            f"plan again: --gpus {here.count}x{plan.cluster.gpu}"
        )
