"""Where Ray and vLLM are together, and whether they are made for each other."""

import re
from dataclasses import replace
from importlib.metadata import distributions

from tpdeploy.backends.base import EnvironmentSpec
from tpdeploy.errors import InputError
from tpdeploy.launcher.environments import (
    Environment,
    environment_of_executable,
    environment_of_python,
    find_environment,
    version_in,
)
from tpdeploy.launcher.orchestrators.base import Task
from tpdeploy.launcher.orchestrators.ray.config import ENGINE

# `ray[llm]` pins another vLLM than the plan's. Ray Serve LLM imports pyarrow besides.
REQUIREMENTS = ("ray[serve]==2.60.0", "pyarrow==26.0.1")
DOWNLOAD_BYTES, DISK_BYTES = 130 * 10**6, 400 * 10**6
PINNED = re.compile(r"vllm(?:\[[^]]*\])?==([\w.+]+)\s*;.*extra == .llm.")


def with_ray(spec: EnvironmentSpec) -> EnvironmentSpec:
    """An environment of its own, in which Ray is beside the engine of `spec`."""
    return replace(
        spec,
        name=f"{spec.name}-ray",
        requirements=(*spec.requirements, *REQUIREMENTS),
        download_bytes=spec.download_bytes + DOWNLOAD_BYTES,
        disk_bytes=spec.disk_bytes + DISK_BYTES,
        fallback=spec.fallback
        and replace(
            spec.fallback,
            download_bytes=spec.fallback.download_bytes + DOWNLOAD_BYTES,
            disk_bytes=spec.fallback.disk_bytes + DISK_BYTES,
        ),
    )


def environment_with_ray(task: Task) -> Environment | None:
    """The one that the user named, if Ray is in it, else the one that tpdeploy installed.

    Raises:
        InputError: what the user named is not a program.
    """
    if task.order.executable:
        named = environment_of_executable(task.order.executable)
    elif task.order.python:
        named = environment_of_python(task.order.python)
    else:
        try:
            return find_environment(with_ray(task.backend.environment(task.plan.cluster.platform)))
        except InputError:  # tpdeploy installs it not for such devices
            return None
    return named if version_in(named, "ray") else None


def made_for(environment: Environment) -> tuple[str, str]:
    """Which vLLM the Ray in there asks for, and which one is there; "" where nothing tells."""
    return _pinned(environment), version_in(environment, ENGINE) or ""


def _pinned(environment: Environment) -> str:
    """The release of vLLM in the metadata of Ray, extra `llm`."""
    packages = [str(p) for p in environment.executables.parent.glob("lib/python*/site-packages")]
    found = next(iter(distributions(name="ray", path=packages)), None)
    needs = (found.requires or []) if found else []
    return next((match[1] for need in needs if (match := PINNED.match(need))), "")
