"""Rules: what the planner has to know of an engine, asked of its adapter."""

from tpdeploy.backends.base import Backend
from tpdeploy.errors import InputError
from tpdeploy.planner.question import EngineRules
from tpdeploy.profiles.devices.cluster import Cluster
from tpdeploy.profiles.models.shape import ModelShape

# Widths are asked for up to this even on fewer devices: their number may have been left open.
WIDEST = 64


class NotHereError(InputError):
    """An engine that does not run on a platform at all; `why` says so without its name."""

    def __init__(self, engine: str, platform: str) -> None:
        self.why = f"does not run on {platform}"
        super().__init__(f"--backend {engine}: {self.why}")


def engine_rules(engine: Backend, shape: ModelShape, cluster: Cluster) -> EngineRules:
    """The rules of `engine` for `shape` on the platform of `cluster`.

    Raises:
        NotHereError: the engine does not run there.
    """
    platform = cluster.accelerator.platform
    memory, can = engine.memory_rule(platform), engine.capability(platform)
    if can is None:
        raise NotHereError(engine.name, platform)
    return EngineRules(
        name=engine.name,
        memory_fraction=memory.default_fraction,
        refused_widths=engine.widths(shape, max(cluster.count, WIDEST)).refused,
        fraction_of=memory.of,
        pipeline=can.pipeline,
        expert_parallel=can.expert_parallel,
        multi_node=can.multi_node,
        prefill_priority=can.prefill_priority,
        async_scheduling=can.async_scheduling,
        eager=can.eager,
        quantizes=can.quantizes,
        checkpoints=can.checkpoints,
    )
