"""Whether an object is one that a cluster takes: strictly, and without a cluster.

Built-in kinds are checked by Kubernetes' own schemas; others by hand-written ones that know the
fields in use and nothing else, and their pods as those of built-in kinds.
"""

from typing import Any

import jsonschema
import kubernetes_validate

Json = dict[str, Any]

RELEASE = "1.37.0"

LABELS: Json = {"type": "object", "additionalProperties": {"type": "string"}}
METADATA: Json = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name"],
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"},
        "namespace": {"type": "string"},
        "labels": LABELS,
        "annotations": LABELS,
    },
}
TEXT: Json = {"type": "string"}
COUNT: Json = {"type": "integer", "minimum": 1}
POD: Json = {"type": "object"}  # checked by itself


def strict(required: list[str], **properties: Json) -> Json:
    """An object with these fields, and no others."""
    return {
        "type": "object",
        "additionalProperties": False,
        "required": required,
        "properties": properties,
    }


def kind(api_version: str, name: str, spec: Json) -> Json:
    """A custom kind."""
    fixed = {"apiVersion": {"const": api_version}, "kind": {"const": name}}
    return strict(["apiVersion", "kind", "metadata", "spec"], **fixed, metadata=METADATA, spec=spec)


LEADER_WORKER_SET = kind(
    "leaderworkerset.x-k8s.io/v1",
    "LeaderWorkerSet",
    strict(
        ["leaderWorkerTemplate"],
        replicas={"type": "integer", "minimum": 0},
        startupPolicy={"enum": ["LeaderCreated", "LeaderReady"]},
        leaderWorkerTemplate=strict(
            ["workerTemplate"],
            size=COUNT,
            restartPolicy={
                "enum": [
                    "Default",
                    "RecreateGroupOnPodRestart",
                    "RecreateGroupAfterStart",
                    "None",
                ]
            },
            leaderTemplate=POD,
            workerTemplate=POD,
        ),
    ),
)
LLM_INFERENCE_SERVICE = kind(
    "serving.kserve.io/v1alpha2",
    "LLMInferenceService",
    strict(
        ["model"],
        model=strict(
            ["uri"], uri={"type": "string", "pattern": "^(hf|pvc|s3)://."}, name={"type": "string"}
        ),
        replicas=COUNT,
        parallelism=strict([], tensor=COUNT, pipeline=COUNT, expert={"type": "boolean"}),
        router=strict([], route={"type": "object"}, gateway={"type": "object"}),
        template=POD,
        worker=POD,
    ),
)
# Of NVIDIA's DRA driver for GPUs, its page of custom resources.
COMPUTE_DOMAIN = kind(
    "resource.nvidia.com/v1beta1",
    "ComputeDomain",
    strict(
        ["numNodes", "channel"],
        numNodes={"type": "integer", "minimum": 0},
        channel=strict(
            ["resourceClaimTemplate"],
            allocationMode={"enum": ["Single", "All"]},
            resourceClaimTemplate=strict(["name"], name={"type": "string"}),
        ),
    ),
)
# Of KEDA 2.22, its pages on ScaledObject and on the scaler of Prometheus.
TRIGGER = strict(
    ["type", "metadata"],
    type={"const": "prometheus"},
    metricType={"enum": ["AverageValue", "Value"]},
    metadata=strict(
        ["serverAddress", "query", "threshold"],
        serverAddress=TEXT,
        query=TEXT,
        threshold={"type": "string", "pattern": r"^\d+(\.\d+)?$"},
        ignoreNullValues={"enum": ["true", "false"]},
    ),
)
SCALED_OBJECT = kind(
    "keda.sh/v1alpha1",
    "ScaledObject",
    strict(
        ["scaleTargetRef", "triggers"],
        scaleTargetRef=strict(["name"], apiVersion=TEXT, kind=TEXT, name=TEXT),
        minReplicaCount={"type": "integer", "minimum": 0},
        maxReplicaCount=COUNT,
        advanced=strict(
            ["horizontalPodAutoscalerConfig"],
            horizontalPodAutoscalerConfig=strict(["behavior"], behavior={"type": "object"}),
        ),
        triggers={"type": "array", "minItems": 1, "items": TRIGGER},
    ),
)
CUSTOM = {
    "ComputeDomain": COMPUTE_DOMAIN,
    "ScaledObject": SCALED_OBJECT,
    "LeaderWorkerSet": LEADER_WORKER_SET,
    "LLMInferenceService": LLM_INFERENCE_SERVICE,
}


class RefusedError(Exception):
    """An object that no cluster takes."""


def check(each: Json) -> None:
    """Return if a cluster would take the object.

    Raises:
        RefusedError: it would not, and why.
    """
    try:
        if schema := CUSTOM.get(each["kind"]):
            jsonschema.validate(each, schema)
            for template in templates(each):
                kubernetes_validate.validate(template, RELEASE, strict=True)
        else:
            kubernetes_validate.validate(each, RELEASE, strict=True)
    except (kubernetes_validate.ValidationError, jsonschema.ValidationError) as error:
        raise RefusedError(error.message) from error
    for container in containers(each):
        _check_ports(container)
        _check_mounts(container, each)


def templates(each: Json) -> list[Json]:
    """The pods of a custom kind, each as an object of a kind that Kubernetes knows."""
    spec = each["spec"]
    if each["kind"] == "LeaderWorkerSet":
        group = spec["leaderWorkerTemplate"]
        found = [group[name] for name in ("leaderTemplate", "workerTemplate") if name in group]
    else:
        found = [{"spec": spec[name]} for name in ("template", "worker") if name in spec]
    head = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "template"}}
    return [{**head, "template": template} for template in found]


def pod_specs(each: Json) -> list[Json]:
    """Of every pod that an object makes."""
    if each["kind"] in CUSTOM:
        return [template["template"]["spec"] for template in templates(each)]
    template = each.get("spec", {}).get("template")
    return [template["spec"]] if template else []


def containers(each: Json) -> list[Json]:
    return [container for spec in pod_specs(each) for container in spec["containers"]]


def _check_ports(container: Json) -> None:
    """What the schemas leave to the server: ports in range, and no probe of a port without name."""
    ports = container.get("ports", ())
    for port in ports:
        if not 1 <= port["containerPort"] <= 65535:
            raise RefusedError("containerPort: must be between 1 and 65535, inclusive")
    names = {port.get("name") for port in ports}
    for probe in (value for name, value in container.items() if name.endswith("Probe")):
        if "httpGet" in probe and probe["httpGet"]["port"] not in names:
            raise RefusedError(f"probe of an unknown port {probe['httpGet']['port']}")


def _check_mounts(container: Json, each: Json) -> None:
    """Likewise: every mount is of a volume of its pod."""
    specs = [spec for spec in pod_specs(each) if container in spec["containers"]]
    volumes = {volume["name"] for volume in specs[0].get("volumes", ())}
    for mount in container.get("volumeMounts", ()):
        if mount["name"] not in volumes:
            raise RefusedError(f'volumeMounts: Not found: "{mount["name"]}"')
