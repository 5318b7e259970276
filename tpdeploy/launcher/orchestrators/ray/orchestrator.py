"""Whole deployments as applications of Ray Serve: `--on ray[:ADDRESS]`.

Ray places the replicas, passes requests to them and starts them again.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import ClassVar

import yaml

from tpdeploy.backends.base import Backend, EnvironmentSpec
from tpdeploy.errors import InputError, TpdeployError, nearest
from tpdeploy.files import read_text
from tpdeploy.launcher.commands import Order
from tpdeploy.launcher.orchestrators.base import Manifest, Orchestrator, Task, View
from tpdeploy.launcher.orchestrators.ray import logs, schema
from tpdeploy.launcher.orchestrators.ray.checks import check_names, check_proxy, refusals
from tpdeploy.launcher.orchestrators.ray.config import ENGINE, serve_config
from tpdeploy.launcher.orchestrators.ray.dashboard import Dashboard, address_of
from tpdeploy.launcher.orchestrators.ray.details import Application, Details
from tpdeploy.launcher.orchestrators.ray.endpoint import address_in, tried, url_of
from tpdeploy.launcher.orchestrators.ray.environment import environment_with_ray, with_ray
from tpdeploy.launcher.orchestrators.ray.notes import notes
from tpdeploy.launcher.orchestrators.ray.reference import Reference

# Serve asks a replica to end for 20 s, then kills it.
STOP_TIMEOUT_S, LOOK_EVERY_S = 120.0, 0.5
HEADER = """\
# A configuration of Ray Serve. `serve deploy` takes it, and ends what other files declared.
"""


class Ray(Orchestrator):
    """Declares an application beside those that are declared already."""

    name: ClassVar[str] = "ray"
    tools: ClassVar[str] = "Ray's dashboard or the command `serve`"

    def beside(self, backend: Backend, spec: EnvironmentSpec) -> EnvironmentSpec:
        """Ray in an environment with vLLM."""
        if backend.name != ENGINE:
            raise InputError(f"--with ray: Ray Serve LLM runs {ENGINE}, not {backend.name}")
        return with_ray(spec)

    def check_plan(self, task: Task) -> None:
        """vLLM without attention data parallelism, and what Serve has besides."""
        address_of(task.order.on)
        for words in refusals(task):
            raise InputError(f"--on ray: {words}")
        serve_config(task)

    def check(self, task: Task) -> None:
        """The cluster answers and has room for the name, and Ray's own classes take the file."""
        try:
            details = Dashboard(address_of(task.order.on)).details()
        except TpdeployError as error:
            raise InputError(str(error)) from error
        check_names(task, details)
        check_proxy(task, details)
        if environment := environment_with_ray(task):
            schema.check(environment, self.render(task).text)

    def render(self, task: Task) -> Manifest:
        """What `serve deploy` takes as well."""
        text = yaml.safe_dump(serve_config(task), sort_keys=False, allow_unicode=True, width=100)
        return Manifest(HEADER + text, tuple(notes(task)))

    def submit(self, task: Task, manifest: Path, keys: Mapping[str, str]) -> str:
        """Have Serve run it with all that it runs by now, and start Serve if it does not run."""
        dashboard = Dashboard(address_of(task.order.on))
        config = yaml.safe_load(read_text(manifest))
        (ours,) = config["applications"]
        details = dashboard.details()
        if ours["name"] in details.applications:
            raise TpdeployError(f"{dashboard.url} has an application {ours['name']} already")
        dashboard.deploy({**config, **_beside(details, ours["name"], [ours])})
        owned = details.http_options is None
        return str(Reference(dashboard.url, ours["name"], owned=owned))

    def observe(self, reference: str) -> View:
        """As Serve tells it; ready once a completion of one token comes back."""
        known = Reference.read(reference)
        details = Dashboard(known.dashboard).details()
        application = details.applications.get(known.application)
        if application is None:
            return View("stopped")
        phase, reason = application.standing
        if phase == "ready":
            phase, reason = tried(url_of(known, details), application.model)
        return View(phase, reason, application.members)

    def endpoint(self, reference: str, order: Order) -> str:
        """At the head of the cluster, or wherever the user has it listen."""
        return address_in(Reference.read(reference), order.host, order.port)

    def reach(self, reference: str) -> AbstractContextManager[str]:
        """Serve's proxy on the head of the cluster."""
        known = Reference.read(reference)
        details = Dashboard(known.dashboard).details()
        _application(known, details)
        return nullcontext(url_of(known, details))

    def logs(
        self, reference: str, member: str | None, lines: int, *, follow: bool
    ) -> Iterator[str]:
        """Of the processes that there are now; Ray keeps those of others on their nodes."""
        known = Reference.read(reference)
        dashboard = Dashboard(known.dashboard)
        replicas = _application(known, dashboard.details()).replicas
        if member is not None and member not in replicas:
            raise InputError(f"no member {member}; {nearest(member, replicas)}")
        chosen = {label: r for label, r in replicas.items() if member in {None, label}}
        actors = {label: r.actor_id for label, r in chosen.items() if r.actor_id}
        read = logs.growing if follow else logs.last
        for line in read(dashboard, actors, lines):
            yield f"{line.member} | {line.text}"

    def stop(self, reference: str) -> None:
        """Take it from what Serve is to run; Serve itself ends with it if nobody else uses it."""
        known = Reference.read(reference)
        dashboard = Dashboard(known.dashboard)
        details = dashboard.details()
        if known.application in details.applications:
            dashboard.deploy(_beside(details, known.application, []))
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while known.application in (details := dashboard.details()).applications:
            if time.monotonic() > deadline:
                raise TpdeployError(f"{known.application} is still on {known.dashboard}")
            time.sleep(LOOK_EVERY_S)
        if known.owned and details.http_options and not details.applications:
            dashboard.shut_down()


def _beside(details: Details, name: str, ours: list[dict[str, object]]) -> dict[str, object]:
    """What to declare: all that is there but `name`, and `ours`."""
    return {
        "applications": [*details.others(name), *ours],
        "target_capacity": details.target_capacity,
    }


def _application(known: Reference, details: Details) -> Application:
    found = details.applications.get(known.application)
    if found is None:
        raise TpdeployError(f"{known.dashboard} has no application {known.application} any more")
    return found
