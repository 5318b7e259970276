#!/usr/bin/env python3
"""A `kubectl` that is none: it keeps objects in a file, and refuses what a real one refuses.

It lives in the folder STANDIN_KUBECTL: `objects.json` is the cluster. Files there change it:
`unreachable`, `forbidden`, `no-lws`, `no-dra`, `no-keda`; `pending`, `no-image` and `crashing` say
what comes of pods; `slow` keeps them from getting ready, `no-client` those of clients from running.
A pod is made, starts and is ready, a step each time that it is looked at. `endpoint` holds the port
that forwarded connections lead to.
"""

import argparse
import fcntl
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

Json = dict[str, Any]

NAMESPACES = ("default", "serving")
CONTEXTS = ("production", "staging")
NAMES = {
    "deployments": "Deployment",
    "services": "Service",
    "configmaps": "ConfigMap",
    "secrets": "Secret",
    "networkpolicies": "NetworkPolicy",
    "poddisruptionbudgets": "PodDisruptionBudget",
    "pods": "Pod",
    "nodes": "Node",
    "leaderworkersets.leaderworkerset.x-k8s.io": "LeaderWorkerSet",
    "computedomains.resource.nvidia.com": "ComputeDomain",
    "scaledobjects.keda.sh": "ScaledObject",
    "horizontalpodautoscalers": "HorizontalPodAutoscaler",
}
# Kinds that somebody installs, and what says that nobody has.
INSTALLED = {"LeaderWorkerSet": "no-lws", "ComputeDomain": "no-dra", "ScaledObject": "no-keda"}
STEPS = ("made", "starts", "ready")
GROUP = "leaderworkerset.sigs.k8s.io"


def home() -> Path:
    return Path(os.environ["STANDIN_KUBECTL"])


def refuse(words: str) -> NoReturn:
    sys.exit(words)


class Parser(argparse.ArgumentParser):
    """Refuses as kubectl does."""

    def error(self, message: str) -> NoReturn:
        refuse(f"error: unknown flag or argument: {message}")


def parsed() -> argparse.Namespace:
    parser = Parser(allow_abbrev=False)
    parser.add_argument("--context", default=CONTEXTS[0])
    parser.add_argument("--namespace", default=NAMESPACES[1])
    verbs = parser.add_subparsers(dest="verb", required=True, parser_class=Parser)

    def verb(name: str, *values: str, flags: tuple[str, ...] = (), words: str = "*") -> None:
        sub = verbs.add_parser(name, allow_abbrev=False)
        for value in (*values, "--request-timeout"):
            sub.add_argument(value)
        for flag in flags:
            sub.add_argument(flag, action="store_true")
        sub.add_argument("words", nargs=words)

    verb("config", "--output", flags=("--minify",))
    verb("get", "--selector", "--output")
    verb("apply", "--filename", "--dry-run")
    verb("create", "--filename")
    verb("delete", "--selector", "--timeout", flags=("--ignore-not-found", "--wait"))
    logs = ("--prefix", "--ignore-errors", "--follow")
    verb("logs", "--selector", "--tail", "--max-log-requests", flags=logs)
    verb("port-forward", "--address")
    run = ("--image", "--restart", "--labels", "--pod-running-timeout", "--overrides")
    verb("run", *run, flags=("--stdin", "--quiet"))
    return parser.parse_args()


class Cluster:
    """The objects, in a file that is locked meanwhile."""

    def __enter__(self) -> "Cluster":
        self.lock = (home() / "lock").open("w")
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        self.path = home() / "objects.json"
        self.objects: list[Json] = json.loads(self.path.read_text()) if self.path.exists() else []
        return self

    def __exit__(self, *_: object) -> None:
        whole = self.path.with_suffix(".new")
        whole.write_text(json.dumps(self.objects, indent=1))
        whole.replace(self.path)
        self.lock.close()

    def add(self, each: Json, namespace: str) -> None:
        each["metadata"].setdefault("namespace", namespace)
        self.objects = [o for o in self.objects if _id(o) != _id(each)]
        self.objects.append(each)
        if each["kind"] in {"Deployment", "LeaderWorkerSet"}:
            self.objects += pods_of(each)

    def chosen(self, kinds: list[str], namespace: str, selector: str | None) -> list[Json]:
        wanted = dict(part.split("=") for part in selector.split(",")) if selector else {}
        return [
            each
            for each in self.objects
            if each["kind"] in kinds
            and each["metadata"].get("namespace", namespace) == namespace
            and wanted.items() <= each["metadata"].get("labels", {}).items()
        ]


def _id(each: Json) -> tuple[str, str, str]:
    return each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"]


def pods_of(each: Json) -> list[Json]:
    """Those that the cluster's controllers would make."""
    spec, name = each["spec"], each["metadata"]["name"]
    if each["kind"] == "Deployment":
        labels = spec["template"]["metadata"]["labels"]
        return [_pod(each, f"{name}-{n:05x}", labels) for n in range(spec["replicas"])]
    found = []
    for group in range(spec["replicas"]):
        for rank in range(spec["leaderWorkerTemplate"]["size"]):
            part = "workerTemplate" if rank else "leaderTemplate"
            own = {f"{GROUP}/group-index": str(group), f"{GROUP}/worker-index": str(rank)}
            labels = {**spec["leaderWorkerTemplate"][part]["metadata"]["labels"], **own}
            suffix = f"{group}-{rank}" if rank else str(group)
            found.append(_pod(each, f"{name}-{suffix}", labels))
    return found


def _pod(owner: Json, name: str, labels: Json) -> Json:
    space = owner["metadata"]["namespace"]
    meta = {"name": name, "namespace": space, "labels": labels}
    meta["creationTimestamp"] = "2026-11-26T12:00:00Z"
    return {"kind": "Pod", "metadata": meta, "seen": 0, "status": {}}


def look(pod: Json) -> None:
    """One step on, as the files of the cluster say."""
    step = STEPS[min(pod["seen"], len(STEPS) - 1)]
    pod["seen"] += 1
    replica = pod["metadata"]["labels"]["app.kubernetes.io/component"] == "replica"
    if (home() / "pending").exists() and replica:
        message = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
        pod["status"] = {"phase": "Pending", "conditions": [{**condition, "message": message}]}
        return
    state: Json = {"waiting": {"reason": "ContainerCreating"}}
    last: Json = {}
    restarts = 0
    if (home() / "no-image").exists() and replica:
        state = {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}}
    elif (home() / "crashing").exists() and replica:
        state = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}}
        last, restarts = {"terminated": {"exitCode": 1, "reason": "Error"}}, 3
    elif step != "made":
        state = {"running": {"startedAt": "2026-11-26T12:00:01Z"}}
    ready = step == "ready" and "running" in state and not (replica and (home() / "slow").exists())
    container = {"name": "c", "state": state, "lastState": last, "restartCount": restarts}
    pod["status"] = {
        "phase": "Running",
        "podIP": "10.0.0.1",
        "startTime": "2026-11-26T12:00:00Z",
        "conditions": [
            {"type": "PodScheduled", "status": "True"},
            {"type": "Ready", "status": "True" if ready else "False"},
        ],
        "containerStatuses": [{**container, "ready": ready}],
    }


def is_missing(kind: str) -> bool:
    return kind in INSTALLED and (home() / INSTALLED[kind]).exists()


def kinds(words: str) -> list[str]:
    found = []
    for word in words.split(","):
        if word not in NAMES or is_missing(NAMES[word]):
            refuse(f'error: the server doesn\'t have a resource type "{word.partition(".")[0]}"')
        found.append(NAMES[word])
    return found


def get(asked: argparse.Namespace) -> None:
    with Cluster() as cluster:
        if asked.words[0].startswith("service/"):
            name = asked.words[0].removeprefix("service/")
            (found,) = [s for s in cluster.objects if _id(s)[::2] == ("Service", name)]
            assert asked.output == "jsonpath={.spec.ports[0].port}"
            sys.stdout.write(str(found["spec"]["ports"][0]["port"]))
            return
        items = cluster.chosen(kinds(asked.words[0]), asked.namespace, asked.selector)
        for pod in items:
            if pod["kind"] == "Pod":
                look(pod)
        sys.stdout.write(json.dumps({"kind": "List", "items": items}))


def applied(asked: argparse.Namespace) -> None:
    import yaml  # noqa: PLC0415 - it takes long, and is needed here alone

    from tests.launcher.orchestrators.schemas import RefusedError, check  # noqa: PLC0415 - likewise

    text = sys.stdin.read() if asked.filename == "-" else Path(asked.filename).read_text()
    for each in yaml.safe_load_all(text):
        name, space = each["metadata"]["name"], each["metadata"].get("namespace")
        space = space or asked.namespace
        if is_missing(each["kind"]):
            refuse(
                f'error: resource mapping not found for name: "{name}" namespace: "" from '
                f'"STDIN": no matches for kind "{each["kind"]}" in version '
                f'"{each["apiVersion"]}"\nensure CRDs are installed first'
            )
        if space not in NAMESPACES:
            refuse(f'Error from server (NotFound): namespaces "{space}" not found')
        try:
            check(each)
        except RefusedError as error:
            refuse(f'The {each["kind"]} "{name}" is invalid: {error}')
        with Cluster() as cluster:
            there = any(_id(o) == (each["kind"], space, name) for o in cluster.objects)
            if asked.verb == "create" and there:
                refuse(f'Error from server (AlreadyExists): secrets "{name}" already exists')
            if asked.verb == "create" or not asked.dry_run:
                cluster.add(each, space)
        sys.stdout.write(f"{each['kind']}/{name} created\n")


def deleted(asked: argparse.Namespace) -> None:
    wanted = kinds(asked.words[0])
    with Cluster() as cluster:
        gone = cluster.chosen(wanted, asked.namespace, asked.selector)
        gone = [g for g in gone if g["metadata"]["name"] in asked.words[1:] or asked.selector]
        if {each["kind"] for each in gone} & {"Deployment", "LeaderWorkerSet"}:
            gone += cluster.chosen(["Pod"], asked.namespace, asked.selector)
        cluster.objects = [each for each in cluster.objects if each not in gone]


def ran(asked: argparse.Namespace) -> int:
    """A pod whose program runs here; the name of the front's Service leads to `endpoint`."""
    from tests.launcher.orchestrators.schemas import RefusedError, check  # noqa: PLC0415

    pod = json.loads(asked.overrides)
    (container,) = pod["spec"]["containers"]
    assert asked.words == [pod["metadata"]["name"]] == [container["name"]]
    assert asked.stdin and container["stdin"] and container["stdinOnce"]
    assert asked.restart == pod["spec"]["restartPolicy"] == "Never"
    try:
        check(pod)
    except RefusedError as error:
        refuse(f'The Pod "{asked.words[0]}" is invalid: {error}')
    pod["metadata"]["labels"] = dict(part.split("=") for part in asked.labels.split(","))
    with Cluster() as cluster:
        cluster.add(pod, asked.namespace)
    if (home() / "no-client").exists():
        refuse("error: timed out waiting for the condition")
    (home() / "image").write_text(asked.image)
    port = (home() / "endpoint").read_text()
    line = re.sub(r"http://[a-z-]+\.[a-z]+\.svc:\d+", f"http://127.0.0.1:{port}", input())
    program = [sys.executable, "-m", "tpdeploy", "client"]
    with subprocess.Popen(program, stdin=subprocess.PIPE, text=True) as client:
        assert client.stdin
        client.stdin.write(line + "\n")
        client.stdin.flush()
        threading.Thread(target=end_with_input, args=(client.stdin,), daemon=True).start()
        return client.wait()


def end_with_input(stdin: Any) -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    stdin.close()


def logged(asked: argparse.Namespace) -> None:
    with Cluster() as cluster:
        pods = cluster.chosen(["Pod"], asked.namespace, asked.selector)
    names = [pod["metadata"]["name"] for pod in pods]
    names = [name for name in names if not asked.words or f"pod/{name}" in asked.words]
    for name in names:
        for number in range(10 - min(10, int(asked.tail)), 10):
            sys.stdout.write(f"[pod/{name}/c] line {number} of {name}\n")
    sys.stdout.flush()
    while asked.follow:
        time.sleep(0.1)
        sys.stdout.write(f"[pod/{names[0]}/c] one more of {names[0]}\n")
        sys.stdout.flush()


def forwarded(asked: argparse.Namespace) -> None:
    """From a free port to the one in the file `endpoint`."""
    target = int((home() / "endpoint").read_text())
    server = socket.create_server((asked.address, 0))
    (home() / "forwarder").write_text(str(os.getpid()))
    print(f"Forwarding from {asked.address}:{server.getsockname()[1]} -> {target}", flush=True)
    while True:
        client, _ = server.accept()
        there = socket.create_connection((asked.address, target))
        for one, other in ((client, there), (there, client)):
            threading.Thread(target=passed_on, args=(one, other), daemon=True).start()


def passed_on(one: socket.socket, other: socket.socket) -> None:
    while data := one.recv(65536):
        other.sendall(data)
    other.shutdown(socket.SHUT_WR)


def config(asked: argparse.Namespace) -> None:
    told = {
        "current-context": f"{CONTEXTS[0]}\n",
        "get-contexts": "".join(f"{name}\n" for name in CONTEXTS),
        "view": NAMESPACES[1],
    }
    sys.stdout.write(told[asked.words[0]])


def main() -> None:
    asked = parsed()
    with (home() / "commands.log").open("a") as log:
        log.write(" ".join(sys.argv[1:]) + "\n")
    if asked.verb == "config":
        return config(asked)
    if (home() / "unreachable").exists():
        refuse("Unable to connect to the server: dial tcp 10.1.2.3:6443: i/o timeout")
    if (home() / "forbidden").exists():
        refuse(
            'Error from server (Forbidden): deployments.apps is forbidden: User "ann" cannot '
            'list resource "deployments" in API group "apps" in the namespace "serving"'
        )
    verbs = {"get": get, "apply": applied, "create": applied, "delete": deleted}
    if asked.verb == "run":
        sys.exit(ran(asked))
    return {**verbs, "logs": logged, "port-forward": forwarded}[asked.verb](asked)


if __name__ == "__main__":
    main()
