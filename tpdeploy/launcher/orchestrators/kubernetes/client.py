"""A pod of the cluster that runs `tpdeploy client`, and is talked to through kubectl."""

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from tpdeploy import __version__
from tpdeploy.errors import TpdeployError
from tpdeploy.launcher.orchestrators.kubernetes.kubectl import Kubectl
from tpdeploy.launcher.orchestrators.kubernetes.objects import COMPONENT, MANAGER, OWNER, whole_name

Json = dict[str, Any]

# Python's own, into which this release of tpdeploy is installed when the pod starts.
IMAGE = "python:3.13-slim"
PLACE = "/work"
INSTALL = (
    f"pip install --quiet --no-cache-dir --target {PLACE}/packages tpdeploy=={__version__} "
    f"< /dev/null >&2 && PYTHONPATH={PLACE}/packages exec python -m tpdeploy client"
)
USER = 65534  # nobody, of every Linux
# Until the image is there and the pod runs.
START_TIMEOUT = "10m"
LABELS = {MANAGER: OWNER, COMPONENT: "client"}


@contextmanager
def client_pod(kubectl: Kubectl, image: str) -> Iterator[tuple[str, ...]]:
    """What starts such a pod and talks to it; the pod is gone after the context.

    `image` has this release of tpdeploy; without one it is installed from PyPI.
    """
    name = whole_name("client", secrets.token_hex(4))
    options = (
        *(f"--image={image or IMAGE}", "--restart=Never", "--stdin", "--quiet"),
        f"--labels={','.join(f'{key}={value}' for key, value in LABELS.items())}",
        f"--pod-running-timeout={START_TIMEOUT}",
        f"--overrides={json.dumps(pod(name, image))}",
    )
    try:
        yield tuple(kubectl.command("run", name, *options))
    finally:
        with suppress(TpdeployError):
            kubectl.told("delete", "pods", name, "--ignore-not-found")


def pod(name: str, image: str) -> Json:
    """The pod: it fits the restricted Pod Security Standard, and ends with its input."""
    command = ["tpdeploy", "client"] if image else ["sh", "-c", INSTALL]
    container = {
        "name": name,
        "image": image or IMAGE,
        "command": command,
        "env": [{"name": "HOME", "value": PLACE}],
        "stdin": True,
        "stdinOnce": True,
        "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "4Gi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "work", "mountPath": PLACE},
            {"name": "temporary", "mountPath": "/tmp"},  # noqa: S108 - its own
        ],
    }
    spec = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 1,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": name, "emptyDir": {}} for name in ("work", "temporary")],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
