"""kubectl, with the user's own configuration: what it says, and its refusals in one line."""

import json
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from tpdeploy.errors import InputError, TpdeployError, one_line, shown
from tpdeploy.launcher.told import told

Json = dict[str, Any]

TIMEOUT_S = 60.0
REQUEST_TIMEOUT = "20s"
FORWARD_TIMEOUT_S = 30.0
LOOPBACK = "127.0.0.1"
FORWARDING = f"Forwarding from {LOOPBACK}:"
# What the beginnings of its complaints mean.
UNREACHABLE = ("Unable to connect to the server", "The connection to the server", "dial tcp")
COMPLAINTS = ("Error", "error", "The ")
NO_KIND = "doesn't have a resource type"
TAKEN = "(AlreadyExists)"
FORBIDDEN = "(Forbidden)"
# Kinds that somebody has to install.
LACKING = {
    "LeaderWorkerSet": "(leaderworkerset.x-k8s.io/v1), which replicas over several machines need; "
    "its administrator installs it",
    "ComputeDomain": "(resource.nvidia.com/v1beta1), which replicas on several trays of an NVL72 "
    "need; NVIDIA's DRA driver for GPUs brings it",
    "ScaledObject": "(keda.sh/v1alpha1), which --autoscale keda needs; KEDA brings it",
}


class NoKindError(TpdeployError):
    """The cluster has no objects of that kind, nor could it have."""


class ForbiddenError(TpdeployError):
    """The cluster does not let this user do that."""


class TakenError(TpdeployError):
    """The cluster has an object of that name already."""


@dataclass(frozen=True)
class Kubectl:
    """Asks one cluster about one namespace; empty names stand for kubectl's own."""

    context: str = ""
    namespace: str = ""

    def command(self, *words: str) -> list[str]:
        """The argument list of a command.

        Raises:
            InputError: kubectl is not here.
        """
        program = shutil.which("kubectl")
        if program is None:
            raise InputError("--on kubernetes needs kubectl, which is not installed")
        where = [f"--context={self.context}"] if self.context else []
        where += [f"--namespace={self.namespace}"] if self.namespace else []
        return [program, *where, *words]

    def told(self, *words: str, stdin: str = "", timeout_s: float = TIMEOUT_S) -> str:
        """What it writes on stdout.

        Raises:
            InputError: kubectl is not here.
            NoKindError: the cluster does not know what is asked for.
            TakenError: what is to be created is there.
            TpdeployError: it refuses, or gives no answer.
        """
        done = told(self.command(*words), timeout_s, stdin=stdin)
        if done.returncode:
            raise _kind_of(done.stderr)(self.explained(done.stderr))
        return done.stdout

    def items(self, kinds: str, selector: str) -> list[Json]:
        """The objects of these kinds that have the labels.

        Raises:
            TpdeployError: it refuses, or gives no answer.
        """
        asked = ("get", kinds, f"--selector={selector}", "--output=json")
        found = json.loads(self.told(*asked, f"--request-timeout={REQUEST_TIMEOUT}"))
        return list(found["items"])

    def explained(self, stderr: str) -> str:
        """The one line that says what was wrong, and what would help."""
        lines = [
            line.strip()
            for line in stderr.splitlines()
            if line.strip() and not line.startswith("Warning:")
        ]
        first = next((n for n, line in enumerate(lines) if line.startswith(COMPLAINTS)), -1)
        told = " ".join(lines[first:][: 2 if lines and lines[first].endswith(":") else 1])
        told = one_line(told or "it failed and gave no reason")
        where = f"context {self.context}" if self.context else "kubectl's current context"
        if any(word in stderr for word in UNREACHABLE):
            return f"the cluster of {where} cannot be reached: {one_line(lines[-1])}"
        for kind, words in LACKING.items():
            if f'no matches for kind "{kind}"' in stderr:
                return f"the cluster has no {kind} {words}"
        if FORBIDDEN in stderr:
            return f"the cluster forbids it: {told}"
        if "namespaces" in stderr and "not found" in stderr:
            return f"{told}; create it, or name another: --namespace"
        return f"kubectl: {told.removeprefix('error: ')}"

    @contextmanager
    def forwarded(self, target: str, port: int) -> Iterator[int]:
        """A free port of this machine that leads to `port` of `target`, while the context lasts.

        Raises:
            TpdeployError: it cannot be had.
        """
        words = ("port-forward", f"--address={LOOPBACK}", target, f":{port}")
        with tempfile.TemporaryFile("w+") as complaints:
            process = subprocess.Popen(
                self.command(*words), stdout=subprocess.PIPE, stderr=complaints, text=True
            )
            try:
                line = _first_line(process)
                if not line.startswith(FORWARDING):
                    process.kill()
                    process.wait()
                    complaints.seek(0)
                    raise TpdeployError(self.explained(complaints.read()))
                yield int(line.removeprefix(FORWARDING).partition(" ")[0])
            finally:
                _end(process)

    def lines(self, *words: str) -> Iterator[str]:
        """What it writes, line by line, until it ends or nobody reads on.

        Raises:
            TpdeployError: it refuses.
        """
        with tempfile.TemporaryFile("w+") as complaints:
            process = subprocess.Popen(
                self.command(*words), stdout=subprocess.PIPE, stderr=complaints, text=True
            )
            try:
                yield from (line.rstrip("\n") for line in process.stdout or ())
                if process.wait():
                    complaints.seek(0)
                    raise TpdeployError(self.explained(complaints.read()))
            finally:
                _end(process)


def _kind_of(stderr: str) -> type[TpdeployError]:
    """The error that a complaint of kubectl's stands for."""
    kinds = {NO_KIND: NoKindError, TAKEN: TakenError, FORBIDDEN: ForbiddenError}
    return next((kind for words, kind in kinds.items() if words in stderr), TpdeployError)


def _first_line(process: "subprocess.Popen[str]") -> str:
    """What it writes first; empty if it ends before, or takes too long."""
    timer = threading.Timer(FORWARD_TIMEOUT_S, process.kill)
    timer.start()
    try:
        return process.stdout.readline() if process.stdout else ""
    finally:
        timer.cancel()


def _end(process: "subprocess.Popen[str]") -> None:
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=5)
    process.kill()
    process.wait()
    if process.stdout:
        process.stdout.close()


def current_context() -> str:
    """The context that kubectl uses now.

    Raises:
        InputError: it has none.
    """
    try:
        return Kubectl().told("config", "current-context").strip()
    except InputError:
        raise
    except TpdeployError as error:
        raise InputError(f"--on kubernetes: {error}; name a context: kubernetes:CONTEXT") from error


def own_namespace(context: str) -> str:
    """The namespace of a context."""
    path = "jsonpath={..namespace}"
    told = Kubectl(context).told("config", "view", "--minify", f"--output={path}")
    return told.strip() or "default"


def contexts() -> Sequence[str]:
    """The names of all that kubectl knows."""
    return Kubectl().told("config", "get-contexts", "--output=name").split()


def check_context(context: str) -> None:
    """Check that kubectl knows it.

    Raises:
        InputError: it does not.
    """
    if context and context not in (known := contexts()):
        words = ", ".join(known) or "none"
        raise InputError(f"--on kubernetes:{shown(context)}: kubectl knows the contexts {words}")
