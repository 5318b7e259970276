"""What the user says of a deployment in Kubernetes, and what one is found by again."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tpdeploy.errors import InputError, shown
from tpdeploy.launcher.commands import Order

# RFC 1123 labels; Services and what belongs to them get endings besides.
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
MOST_NAME, MOST_LABEL = 40, 63
OPTIONS = ("namespace", "volume", "format", "autoscale", "prometheus")
FORMATS = ("plain", "kserve")
AUTOSCALERS = ("keda", "hpa")
# A Service, whose namespace is let in to read metrics.
ADDRESS = re.compile(
    r"https?://[a-z0-9][-a-z0-9]*\.([a-z0-9][-a-z0-9]*)(\.svc[-.a-z0-9]*)?(:\d+)?(/\S*)?"
)
VOLUME_FORMS = "pvc:NAME, pvc:NAME/FOLDER or a path of the nodes, as /data/models"

Format = Literal["plain", "kserve"]


@dataclass(frozen=True)
class Volume:
    """Where weights are: `folder` of the claim `claim`, or without one of each node."""

    claim: str
    folder: str


@dataclass(frozen=True)
class Settings:
    """How a deployment is to be in its cluster; empty names stand for kubectl's own."""

    name: str
    context: str
    namespace: str
    volume: Volume | None
    format: str
    autoscale: str = ""
    prometheus: str = ""

    @property
    def prometheus_namespace(self) -> str:
        """Where Prometheus runs; empty: nothing is scaled by it."""
        match = ADDRESS.fullmatch(self.prometheus)
        return match[1] if match else ""


@dataclass(frozen=True)
class Reference:
    """A deployment in a cluster."""

    name: str
    namespace: str
    context: str

    def __str__(self) -> str:
        """As it is kept in the state: NAMESPACE/NAME@CONTEXT."""
        return f"{self.namespace}/{self.name}@{self.context}"


def read_reference(text: str) -> Reference:
    """That of which `text` was made."""
    where, _, context = text.partition("@")
    namespace, _, name = where.partition("/")
    return Reference(name, namespace, context)


def settings_of(order: Order) -> Settings:
    """What is ordered, in the words of Kubernetes.

    Raises:
        InputError: a name that Kubernetes does not take, or an option that nobody knows.
    """
    given = dict(option.partition("=")[::2] for option in order.on_options)
    if unknown := set(given) - set(OPTIONS):
        raise InputError(f"--on kubernetes has no option {shown(min(unknown))}")
    if not LABEL.fullmatch(order.name) or len(order.name) > MOST_NAME:
        raise InputError(
            f"--name {shown(order.name)}: in Kubernetes names have up to {MOST_NAME} lower-case "
            "letters, digits and '-'"
        )
    namespace = given.get("namespace", "")
    if namespace and (not LABEL.fullmatch(namespace) or len(namespace) > MOST_LABEL):
        raise InputError(f"--namespace {shown(namespace)}: use lower-case letters, digits and '-'")
    return Settings(
        name=order.name,
        context=order.on.partition(":")[2],
        namespace=namespace,
        volume=_volume(given["volume"]) if "volume" in given else None,
        format=given.get("format", "plain"),
        autoscale=given.get("autoscale", ""),
        prometheus=_prometheus(given),
    )


def _prometheus(given: Mapping[str, str]) -> str:
    """Where Prometheus answers, which an autoscaler needs.

    Raises:
        InputError: it is not said, or is no Service, or nothing needs it.
    """
    address, example = given.get("prometheus"), "http://prometheus.monitoring.svc:9090"
    if address is None and "autoscale" in given:
        raise InputError(f"--autoscale: say where Prometheus answers, as --prometheus {example}")
    if address is not None and "autoscale" not in given:
        raise InputError("--prometheus: is for --autoscale; leave it out, or give --autoscale keda")
    if address is not None and not ADDRESS.fullmatch(address):
        raise InputError(
            f"--prometheus {shown(address)}: give a Service with its namespace, as {example}"
        )
    return address or ""


def _volume(text: str) -> Volume:
    """The volume that `text` names.

    Raises:
        InputError: it names none.
    """
    if text.startswith("pvc:"):
        claim, _, folder = text.removeprefix("pvc:").partition("/")
        if LABEL.fullmatch(claim) and not _climbs(folder):
            return Volume(claim, folder.strip("/"))
    elif text.startswith("/") and not _climbs(text):
        return Volume("", text)
    raise InputError(f"--volume {shown(text)}: give {VOLUME_FORMS}")


def _climbs(folder: str) -> bool:
    return ".." in folder.split("/")
