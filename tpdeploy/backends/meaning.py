"""What each engine calls each field of a plan, found by changing the field and looking what moves.

The conformance class holds adapters to it, and `scripts/list_engines.py` writes docs/engines.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from tpdeploy.backends.base import Backend, Command, Site
from tpdeploy.backends.rules import engine_rules
from tpdeploy.planner.inputs import PlanInputs
from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.planner.search.search import plan, search
from tpdeploy.planner.workload import Workload
from tpdeploy.profiles.devices.catalog import with_engine
from tpdeploy.profiles.machine.gpus_spec import parse_gpus
from tpdeploy.profiles.models.library import load_model

SITE = Site("127.0.0.1", "8001", Path("replica-0"), ("9001", "9002", "9003"))


@dataclass(frozen=True)
class Change:
    """A change of a plan, by the path of the field; `along` changes that it needs besides."""

    field: str
    value: object
    along: tuple[tuple[str, object], ...] = ()


OTHER_DEVICES = Change("placement.0.devices", [4, 5, 6, 7])
CHANGES = (
    Change("model.id", "another/Model"),
    Change("model.dtype", "fp16", (("model.kv_cache_dtype", "fp16"),)),
    Change("model.quantization", "fp8"),
    Change("model.kv_cache_dtype", "fp8"),
    Change("parallelism.tensor", 2, (("placement.0.devices", [0, 1]),)),
    Change("parallelism.pipeline", 2, (("placement.0.devices", list(range(8))),)),
    Change("parallelism.data", 4, (("parallelism.tensor", 1),)),
    Change("parallelism.expert", 4),
    OTHER_DEVICES,
    Change("limits.max_model_len", 4096),
    Change("limits.max_num_seqs", 128),
    Change("limits.max_num_batched_tokens", 4096),
    Change("limits.memory_fraction", 0.5),
    Change("limits.enforce_eager", True),
)


def example_plan(engine: Backend, model: str = "llama-70b", gpus: str = "8xH100") -> DeploymentPlan:
    """A model at TP 4, one replica, as `engine` would be planned."""
    cluster = with_engine(parse_gpus(gpus), engine.name)
    shape = load_model(model)
    rules = engine_rules(engine, shape, cluster)
    load = Workload(concurrency=32)
    inputs = PlanInputs(shape, cluster, load, rules, shape.dtype, tensor=4, replicas=1)
    inputs = replace(inputs, native_dtype=shape.dtype)
    return plan(inputs, search(inputs))


def told(
    engine: Backend, made: DeploymentPlan, site: Site = SITE, replica: int = 0
) -> dict[str, str]:
    """Everything the engine is told for a replica on one machine: setting -> value.

    Also which devices it sees, be it by a variable.
    """
    place = made.placement[replica]
    there = replace(site, devices=place.devices, cpus=place.cpus)
    variable = engine.device_variables.get(made.cluster.platform)
    seen = {f"{variable}=": ",".join(map(str, place.devices))} if variable else {}
    return settings(engine.render(made, place, there)) | seen


def settings(command: Command) -> dict[str, str]:
    """Every setting of a command: its arguments, environment, and the leaves of its files.

    Modules that the engine loads hold none.
    """
    found = _arguments(command.argv)
    found |= {f"{name}=": value for name, value in command.env.items()}
    options = {name: text for name, text in command.files.items() if not name.endswith(".py")}
    for name, text in options.items():
        found |= {f"{name}: {path}": value for path, value in _leaves(yaml.safe_load(text))}
    return found


def moved(engine: Backend, change: Change, made: DeploymentPlan) -> str:
    """The settings that `change` of the plan `made` moves, or why the engine refuses it."""
    other = changed(made, change)
    problems = engine.check(other)
    if problems:
        return "; ".join(problem.what for problem in problems)
    names = differences(told(engine, made), told(engine, other))
    if change is not OTHER_DEVICES:
        placed = differences(told(engine, made), told(engine, changed(made, OTHER_DEVICES)))
        names = [name for name in names if name not in placed]
    return ", ".join(f"`{name.rstrip('=')}`" for name in names) or "nothing"


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """The names whose values differ, or that one of them lacks."""
    return [n for n in {**after, **before} if before.get(n) != after.get(n)]


def changed(made: DeploymentPlan, change: Change) -> DeploymentPlan:
    """`made` with that change; a plan is checked again."""
    parts = made.model_dump(mode="json")
    for path, value in ((change.field, change.value), *change.along):
        _set(parts, path.split("."), value)
    return DeploymentPlan.model_validate(parts)


def _set(parts: Any, path: Sequence[str], value: object) -> None:
    *way, last = path
    for step in way:
        parts = parts[int(step)] if isinstance(parts, list) else parts[step]
    parts[last] = value


def _arguments(argv: Sequence[str]) -> dict[str, str]:
    """Options with their values, `yes` for flags; words without an option by their place."""
    found, name, place = {}, "", 0
    for word in argv[1:]:
        if word.startswith("--"):
            name = word
            found[name] = "yes"
        elif name:
            found[name], name = word, ""
        else:
            place += 1
            found[f"argument {place}"] = word
    return found


def _leaves(tree: object, path: str = "") -> list[tuple[str, str]]:
    if isinstance(tree, Mapping):
        below = [(f"{path}.{key}".lstrip("."), value) for key, value in tree.items()]
        return [leaf for at, value in below for leaf in _leaves(value, at)]
    return [(path, str(tree))]
