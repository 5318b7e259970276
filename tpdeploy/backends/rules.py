"""Rules: what the planner has to know of an engine, asked of its adapter."""

from tpdeploy.backends.base import Backend
from tpdeploy.planner.question import EngineRules
from tpdeploy.profiles.cluster import Cluster
from tpdeploy.profiles.model import ModelShape


def engine_rules(engine: Backend, shape: ModelShape, cluster: Cluster) -> EngineRules:
    """The rules of `engine` for `shape` on the platform of `cluster`."""
    platform = cluster.accelerator.platform
    memory, features = engine.memory_rule(platform), engine.features(platform)
    return EngineRules(
        name=engine.name,
        memory_fraction=memory.default_fraction,
        refused_widths=engine.widths(shape, cluster.count).refused,
        fraction_of=memory.of,
        pipeline=features.pipeline,
        whole_experts=features.whole_experts,
        several_nodes=features.several_nodes,
    )
