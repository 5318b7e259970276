"""Kubernetes as an orchestrator: `--on kubernetes`, or `--on kubernetes:CONTEXT`."""

import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from tpdeploy.errors import InputError, TpdeployError, nearest, shown
from tpdeploy.launcher.access import API_KEY, INNER_KEY
from tpdeploy.launcher.commands import Order
from tpdeploy.launcher.offers import Offer
from tpdeploy.launcher.orchestrators.base import Client, Manifest, Orchestrator, Task, View
from tpdeploy.launcher.orchestrators.kubernetes import autoscale, front, kserve
from tpdeploy.launcher.orchestrators.kubernetes.client import client_pod
from tpdeploy.launcher.orchestrators.kubernetes.compute_domain import API
from tpdeploy.launcher.orchestrators.kubernetes.kubectl import (
    TIMEOUT_S,
    ForbiddenError,
    Kubectl,
    NoKindError,
    TakenError,
    check_context,
    current_context,
    own_namespace,
)
from tpdeploy.launcher.orchestrators.kubernetes.manifest import LWS, plain
from tpdeploy.launcher.orchestrators.kubernetes.nodes import offers_of
from tpdeploy.launcher.orchestrators.kubernetes.objects import (
    COMPONENT,
    FRONT,
    GROUP,
    RANK,
    REPLICA,
    labels,
    selector,
    whole_name,
)
from tpdeploy.launcher.orchestrators.kubernetes.pods import (
    CLIENTS,
    HUB_TOKEN,
    INNER,
    image_of,
    machines_of,
)
from tpdeploy.launcher.orchestrators.kubernetes.settings import (
    FORMATS,
    Reference,
    read_reference,
    settings_of,
)
from tpdeploy.launcher.orchestrators.kubernetes.view import Pods, members_of, view_of
from tpdeploy.launcher.runtimes.ports import LOOPBACK

Json = dict[str, Any]

KINDS = "deployments,services,configmaps,secrets,networkpolicies,poddisruptionbudgets"
GROUPS = f"leaderworkersets.{LWS}"
SCALED = f"scaledobjects.{autoscale.KEDA}"
SOMETIMES = (f"computedomains.{API}", SCALED, "horizontalpodautoscalers")
# Engines get a while to finish, and groups are taken down member by member.
DELETE_TIMEOUT_S, POLL_S = 180.0, 1.0
FIELDS = {CLIENTS: API_KEY, INNER: INNER_KEY, HUB_TOKEN: "HF_TOKEN"}
PREFIX = re.compile(r"\[pod/([^/]+)/[^\]]+\] (.*)", re.DOTALL)
MOST_LOGS = 200


class Kubernetes(Orchestrator):
    """Applies a manifest with the user's kubectl, and reads from the pods how it is."""

    name: ClassVar[str] = "kubernetes"
    tools: ClassVar[str] = "kubectl"

    def offers(self, where: str) -> list[Offer]:
        """The nodes of a context, or of kubectl's own."""
        check_context(where)
        asked = Kubectl(where).told("get", "nodes", "--output=json")
        return offers_of(json.loads(asked)["items"])

    def check_plan(self, task: Task) -> None:
        """Any plan whose replicas are joined by the engine itself."""
        settings = settings_of(task.order)
        if settings.format not in FORMATS:
            raise InputError(f"--format {shown(settings.format)}: {nearest('', FORMATS)}")
        _refuse_local(task.order)
        image_of(task)
        if machines_of(task) > 1 and task.backend.joined_by_mpi:
            cluster = task.plan.cluster
            raise InputError(
                f"--on kubernetes: {task.backend.name} joins machines by MPI, which needs an "
                "operator of its own; plan with replicas on one machine (--pp 1, --tp up to "
                f"{cluster.count // cluster.nodes}), or use slurm"
            )
        if task.plan.model.path and settings.volume is None:
            raise InputError(
                f"the plan's model is the folder {shown(task.plan.model.path)}; say where the "
                "cluster has it: --volume pvc:NAME/FOLDER"
            )
        autoscale.check(task, settings)
        if settings.format == "kserve":
            kserve.check(task, settings)

    def check(self, task: Task) -> None:
        """kubectl is here, and the cluster would take every object of it."""
        settings = settings_of(task.order)
        if settings.format != "plain":
            raise InputError(
                f"--format {settings.format} is printed only: add --dry-run, or -o FILE, and "
                "apply it with kubectl"
            )
        kubectl = Kubectl(settings.context, settings.namespace)
        kubectl.command()
        check_context(settings.context)
        try:
            taken = kubectl.items("deployments", _joined(selector(settings.name)))
            if not taken:
                text = self.render(task).text
                kubectl.told("apply", "--dry-run=server", "--filename=-", stdin=text)
        except TpdeployError as error:
            raise InputError(str(error)) from error
        if taken:
            chosen = _joined(selector(settings.name))
            raise InputError(
                f"the cluster has a deployment called {settings.name} already; choose another "
                f"--name, or delete it: kubectl delete {KINDS} -l {chosen}"
            )

    def render(self, task: Task) -> Manifest:
        """Plain objects, or KServe's."""
        settings = settings_of(task.order)
        made = kserve.rendered if settings.format == "kserve" else plain
        return made(task, settings)

    def submit(self, task: Task, manifest: Path, keys: Mapping[str, str]) -> str:
        """Create the Secret, its keys through stdin, and apply the manifest; both or neither."""
        settings = settings_of(task.order)
        context = settings.context or current_context()
        namespace = settings.namespace or own_namespace(context)
        reference = Reference(settings.name, namespace, context)
        kubectl = Kubectl(context, namespace)
        try:
            secret = json.dumps(_secret(reference, keys))
            kubectl.told("create", "--filename=-", stdin=secret)
            kubectl.told("apply", f"--filename={manifest}")
        except TakenError as error:  # by who launched it meanwhile, and will end it
            chosen = _joined(selector(settings.name))
            raise TpdeployError(
                f"the cluster has a Secret of {settings.name} already; choose another --name, or "
                f"if nothing uses it, delete it: kubectl delete secrets -l {chosen}"
            ) from error
        except BaseException:
            with suppress(TpdeployError):
                self.stop(str(reference))
            raise
        return str(reference)

    def endpoint(self, reference: str, order: Order) -> str:
        """By the name of its Service, which every pod of the cluster knows."""
        found = read_reference(reference)
        return f"http://{whole_name(found.name)}.{found.namespace}.svc:{order.port}"

    def observe(self, reference: str) -> View:
        """As its pods are; failed when somebody has deleted it."""
        replicas, size, pods = self._pods(reference)
        if replicas is None:
            where = read_reference(reference).namespace
            return View("failed", f"it is no longer in the namespace {where}")
        return view_of(replicas, size, pods)

    def _pods(self, reference: str) -> tuple[int | None, int, list[Json]]:
        """How many replicas there should be, of how many pods each, and all pods."""
        found = read_reference(reference)
        kubectl, chosen = _kubectl(found), _joined(selector(found.name))
        objects = kubectl.items("deployments,pods", chosen)
        pods = [each for each in objects if each["kind"] == "Pod"]
        sets = [each for each in objects if each["kind"] == "Deployment"]
        for each in sets:
            if each["metadata"]["labels"].get(COMPONENT) == REPLICA:
                return int(each["spec"]["replicas"]), 1, pods
        with suppress(NoKindError):
            for each in kubectl.items(GROUPS, chosen):
                size = int(each["spec"]["leaderWorkerTemplate"]["size"])
                return int(each["spec"]["replicas"]), size, pods
        return None, 1, pods

    @contextmanager
    def reach(self, reference: str) -> Iterator[str]:
        """Through kubectl, from a free port of this machine."""
        found = read_reference(reference)
        kubectl, service = _kubectl(found), f"service/{whole_name(found.name)}"
        port = int(kubectl.told("get", service, "--output=jsonpath={.spec.ports[0].port}"))
        with kubectl.forwarded(service, port) as here:
            yield f"http://{LOOPBACK}:{here}"

    def client(self, reference: str, order: Order, image: str) -> Client:
        """In a pod of the deployment's namespace, which is made for each conversation."""
        found = read_reference(reference)
        if not front.is_open(order):
            raise InputError(
                "without a key it listens inside its pod only; launch it with --generate-key, "
                "TPDEPLOY_API_KEY or --insecure"
            )
        return partial(client_pod, _kubectl(found), image)

    def logs(
        self, reference: str, member: str | None, lines: int, *, follow: bool
    ) -> Iterator[str]:
        """What its pods wrote; those of groups are named by their rank as well."""
        found = read_reference(reference)
        replicas, size, pods = self._pods(reference)
        members = members_of(replicas or 0, size, pods)
        names = [each.label for each in members]
        if member is not None and member not in names:
            raise InputError(f"no log of {shown(member)}; {nearest(member, names)}")
        asked = ["logs", "--prefix", f"--tail={lines}", "--ignore-errors"]
        asked += [f"--max-log-requests={MOST_LOGS}", *(["--follow"] if follow else [])]
        chosen = next((each for each in members if each.label == member), None)
        called = _called(members)
        for line in _kubectl(found).lines(*asked, *_whose(found, chosen, size)):
            yield _named(line, called, whole=member is None)

    def stop(self, reference: str) -> None:
        """Delete all of it, and wait until the last pod has gone."""
        found = read_reference(reference)
        kubectl, chosen = _kubectl(found), _joined(selector(found.name))
        how = ("--ignore-not-found", "--wait", f"--timeout={DELETE_TIMEOUT_S:g}s")
        for kinds in (KINDS, GROUPS):
            with suppress(NoKindError):
                asked = ("delete", kinds, f"--selector={chosen}", *how)
                kubectl.told(*asked, timeout_s=DELETE_TIMEOUT_S + TIMEOUT_S)
        for kinds in SOMETIMES:
            with suppress(NoKindError, ForbiddenError):  # who may not delete one has made none
                kubectl.told("delete", kinds, f"--selector={chosen}", "--ignore-not-found")
        deadline = time.monotonic() + DELETE_TIMEOUT_S
        while left := kubectl.items("pods", chosen):
            if time.monotonic() > deadline:
                names = ", ".join(pod["metadata"]["name"] for pod in left)
                raise TpdeployError(f"pods are left in {found.namespace}: {names}")
            time.sleep(POLL_S)


def _refuse_local(order: Order) -> None:
    """What means something on this machine alone."""
    given = {
        "--executable": order.executable,
        "--python": order.python,
        "--tls-cert": order.tls_cert,
        "--metrics": order.metrics,
        "--host": order.host != LOOPBACK,
    }
    helps = {
        "--executable": "name an image: --container IMAGE",
        "--python": "name an image: --container IMAGE",
        "--tls-cert": "an Ingress or a Gateway of the cluster encrypts",
        "--metrics": "Prometheus finds the pods of a cluster by itself",
        "--host": "the Service of the deployment is its address",
    }
    for option, value in given.items():
        if value:
            raise InputError(f"{option} is not for --on kubernetes: {helps[option]}")


def _secret(found: Reference, keys: Mapping[str, str]) -> Json:
    data = {field: keys[name] for field, name in FIELDS.items() if name in keys}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": whole_name(found.name, "keys"),
            "namespace": found.namespace,
            "labels": labels(found.name, FRONT),
        },
        "type": "Opaque",
        "stringData": data,
    }


def _kubectl(found: Reference) -> Kubectl:
    return Kubectl(found.context, found.namespace)


def _joined(chosen: Mapping[str, str]) -> str:
    return ",".join(f"{name}={value}" for name, value in chosen.items())


def _whose(found: Reference, member: Pods | None, size: int) -> list[str]:
    """The pods of a member, or all, as kubectl's arguments."""
    chosen = dict(selector(found.name))
    if member and member.label == FRONT:
        chosen[COMPONENT] = FRONT
    elif member and size == 1:
        return [f"pod/{pod['metadata']['name']}" for pod in member.pods[:1]]
    elif member:
        chosen[GROUP] = member.label.rpartition("-")[2]
    return [f"--selector={_joined(chosen)}"]


def _called(members: list[Pods]) -> dict[str, str]:
    """Pods by name, as people know them: replica-0, or its part on its second machine, /1."""
    return {
        pod["metadata"]["name"]: f"{member.label}/{rank}" if rank != "0" else member.label
        for member in members
        for pod in member.pods
        for rank in [pod["metadata"].get("labels", {}).get(RANK, "0")]
    }


def _named(line: str, called: Mapping[str, str], *, whole: bool) -> str:
    """A line of kubectl's, with its member in front unless a single one was asked for."""
    match = PREFIX.match(line)
    if match is None:
        return line
    label = called.get(match[1], match[1])
    width = max(map(len, called.values()), default=0)
    return f"{label:<{width}} | {match[2]}" if whole or "/" in label else match[2]
