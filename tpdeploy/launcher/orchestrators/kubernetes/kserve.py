"""The same plan as one LLMInferenceService of KServe, which brings router and probes itself.

Its own templates start vLLM with the model, the name it is served by, and the split of
`parallelism`; everything else that the plan says is in VLLM_ADDITIONAL_ARGS (kserve/kserve,
config/llmisvcconfig/config-llm-worker-pipeline-parallel.yaml).
"""

import shlex
from collections.abc import Sequence
from typing import Any

from tpdeploy.errors import InputError
from tpdeploy.launcher.orchestrators.base import Manifest, Task
from tpdeploy.launcher.orchestrators.kubernetes import compute_domain
from tpdeploy.launcher.orchestrators.kubernetes.manifest import dumped
from tpdeploy.launcher.orchestrators.kubernetes.objects import REPLICA, metadata
from tpdeploy.launcher.orchestrators.kubernetes.pods import (
    image_of,
    machines_of,
    nodes,
    parts_for,
    resources,
)
from tpdeploy.launcher.orchestrators.kubernetes.settings import Settings

Json = dict[str, Any]

# Options, with a value each, that its templates give themselves, or that need files of ours.
THEIRS = frozenset(
    {
        *("--served-model-name", "--host", "--port", "--middleware", "--nnodes", "--node-rank"),
        *("--master-addr", "--master-port", "--pipeline-parallel-size"),
    }
)


def check(task: Task, settings: Settings) -> None:
    """Check that KServe's templates can run such a plan.

    Raises:
        InputError: they cannot.
    """
    if task.backend.name != "vllm":
        raise InputError(f"--format kserve: KServe starts vllm, not {task.backend.name}")
    split, machines = task.plan.parallelism, machines_of(task)
    if machines > 1 and split.pipeline != machines:
        raise InputError(
            f"--format kserve: KServe splits a replica over machines by stages, one each, and the "
            f"plan has {split.pipeline} stages on {machines} machines; use the plain format"
        )
    if settings.volume and not settings.volume.claim:
        raise InputError("--format kserve: weights are on a claim (pvc:NAME) or at the hub")
    if task.plan.model.path and not settings.volume:
        raise InputError("--format kserve: name the claim that has the weights: --volume pvc:NAME")


def rendered(task: Task, settings: Settings) -> Manifest:
    """The object, and what has to be known of it."""
    notes = (
        f"Image: {image_of(task)}.",
        "It needs KServe with LLMInferenceService (serving.kserve.io/v1alpha2), its templates, "
        "and for several machines LeaderWorkerSet.",
        "KServe's router, keys and probes take the place of tpdeploy's front; its liveness probe "
        "does not notice that a rank on another machine hangs.",
        *compute_domain.notes(task),
    )
    return Manifest(dumped([service(task, settings)]), notes)


def service(task: Task, settings: Settings) -> Json:
    """The LLMInferenceService."""
    split, machines = task.plan.parallelism, machines_of(task)
    parallelism: Json = {"tensor": split.tensor}
    if split.pipeline > 1:
        parallelism["pipeline"] = split.pipeline
    if split.expert_parallel:
        parallelism["expert"] = True
    spec: Json = {
        "model": {"uri": _uri(task, settings), "name": task.plan.model.id},
        "replicas": split.replicas,
        "parallelism": parallelism,
        "router": {"route": {}, "gateway": {}},
        "template": _pod(task),
    }
    if machines > 1:
        spec["worker"] = _pod(task)
    return {
        "apiVersion": "serving.kserve.io/v1alpha2",
        "kind": "LLMInferenceService",
        "metadata": metadata(settings, REPLICA),
        "spec": spec,
    }


def _uri(task: Task, settings: Settings) -> str:
    if settings.volume:
        return f"pvc://{settings.volume.claim}/{settings.volume.folder}"
    return f"hf://{task.plan.model.id}"


def _pod(task: Task) -> Json:
    arguments = shlex.join(_ours(task))
    container = {
        "name": "main",
        "image": image_of(task),
        "env": [{"name": "VLLM_ADDITIONAL_ARGS", "value": arguments.replace("$", "$$")}],
        "resources": resources(task),
    }
    return {**nodes(task), "containers": [container]}


def _ours(task: Task) -> Sequence[str]:
    """Of the engine's arguments those that KServe does not give."""
    words = iter(parts_for(task).leader.argv[3:])  # vllm serve MODEL
    found = []
    for word in words:
        if word in THEIRS:
            next(words)
        else:
            found.append(word)
    return found
