"""Case: what is examined. A plan on this machine with an engine, or the machine alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tpdeploy.launcher import state
from tpdeploy.launcher.environments import Environment
from tpdeploy.launcher.runtimes.base import Engine
from tpdeploy.launcher.runtimes.ports import LOOPBACK
from tpdeploy.launcher.runtimes.registry import runtime_for
from tpdeploy.launcher.state import Deployment
from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.profiles.devices.cluster import Cluster
from tpdeploy.profiles.machine.detect import detect
from tpdeploy.profiles.machine.nvml import Driver, Gpu, read_driver
from tpdeploy.profiles.models.weights import cached_weights


@dataclass(frozen=True)
class Case:
    """What is to run, and where; `port` is None where any free one will do.

    An engine that was told to make up its weights `loads_weights` of no model.
    """

    engine: Engine
    plan: DeploymentPlan | None = None
    host: str = LOOPBACK
    port: int | None = None
    loads_weights: bool = True

    @property
    def on_gpus(self) -> bool:
        """Whether it runs on GPUs that the NVIDIA driver knows."""
        return self.engine.platform == "cuda"

    @cached_property
    def driver(self) -> Driver | None:
        """What the NVIDIA driver says, asked once."""
        return read_driver() if self.on_gpus else None

    @cached_property
    def here(self) -> Cluster:
        """This machine as plans see it.

        Raises:
            InputError: no plan can be made for all of it.
        """
        return detect()

    @cached_property
    def gpus(self) -> Sequence[Gpu]:
        """The GPUs that the plan uses, or all of this machine."""
        if self.driver is None:
            return ()
        used = set(self.devices)
        return [gpu for gpu in self.driver.gpus if self.plan is None or gpu.index in used]

    @cached_property
    def devices(self) -> Sequence[int]:
        """The numbers of the devices that the plan uses on this machine."""
        places = self.plan.placement if self.plan else ()
        return sorted({device for place in places for device in place.devices_on(0)})

    @cached_property
    def running(self) -> Sequence[Deployment]:
        """The deployments that run now."""
        return [
            deployment
            for deployment in state.deployments()
            if deployment.running and not deployment.orchestrator
        ]

    @cached_property
    def cached_weights(self) -> Path | None:
        """Where the weights of a hub model are, if they have been downloaded."""
        model = self.plan.model if self.plan else None
        return cached_weights(model.id) if model and not model.path else None

    @cached_property
    def to_download(self) -> DeploymentPlan | None:
        """The plan, if its weights are not on this machine."""
        if self.plan is None or self.plan.model.path or not self.loads_weights:
            return None
        return None if self.cached_weights else self.plan

    @cached_property
    def environment(self) -> Environment | None:
        """The engine's environment, if it is on this machine."""
        return runtime_for(self.engine).environment(self.engine)
