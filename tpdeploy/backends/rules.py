"""Rules: what the planner has to know of an engine, asked of its adapter."""

from dataclasses import replace

from tpdeploy.backends.base import Backend
from tpdeploy.backends.registry import load_backend
from tpdeploy.errors import InputError
from tpdeploy.planner.engine_rules import EngineRules
from tpdeploy.profiles.devices.accelerator import Accelerator
from tpdeploy.profiles.devices.catalog import efficiency_of
from tpdeploy.profiles.devices.cluster import Cluster
from tpdeploy.profiles.models.shape import ModelShape

# Widths are asked for up to this even on fewer devices: their number may have been left open.
WIDEST = 64


class NotHereError(InputError):
    """An engine that does not run on a platform at all; `why` says so without its name."""

    def __init__(self, engine: str, platform: str) -> None:
        self.platform, self.why = platform, f"does not run on {platform}"
        super().__init__(f"--backend {engine}: {self.why}")


def engine_rules(engine: Backend, shape: ModelShape, cluster: Cluster) -> EngineRules:
    """The rules of `engine` for `shape` on the platform of `cluster`.

    Raises:
        NotHereError: the engine does not run there.
    """
    widths = engine.widths(shape, max(cluster.count, WIDEST))
    rules = rules_on(engine, cluster.accelerator)
    needs = {width: need.words for width, need in widths.needs.items()}
    return replace(rules, refused_widths=widths.refused, width_needs=needs)


def rules_on(
    engine: Backend, device: Accelerator, version: str = "", date: str = ""
) -> EngineRules:
    """The rules of `engine` on `device`, whatever the model: no width is refused.

    `version` is the release that runs; where it is not known, the one there was on `date`
    (YYYY-MM-DD), else today's.

    Raises:
        NotHereError: the engine does not run there.
    """
    platform = device.platform
    memory, can = engine.memory_rule(platform), engine.capability(platform)
    if can is None:
        raise NotHereError(engine.name, platform)
    before_async = can.async_since is not None and can.async_since.is_after(version, date)
    return EngineRules(
        name=engine.name,
        memory_fraction=memory.default_fraction,
        fraction_of=memory.of,
        pipeline=can.pipeline,
        expert_parallel=can.expert_parallel,
        data_parallel=can.data_parallel,
        data_or_tensor=can.data_or_tensor,
        several_machines=can.multi_node,
        prefill_priority=can.prefill_priority,
        async_scheduling=can.async_scheduling and not before_async,
        kv_allocation=can.kv_allocation,
        eager=can.eager,
        quantizes=can.quantizes,
        checkpoints=can.checkpoints,
        own_kernels=_measured_engine(engine, device).own_kernels,
        overheads=engine.overheads,
    )


def _measured_engine(engine: Backend, device: Accelerator) -> Backend:
    """The engine whose figures predictions for `engine` are: another one where it has no runs."""
    name = efficiency_of(device.architecture, engine.name).engine
    return engine if name == engine.name else load_backend(name)
