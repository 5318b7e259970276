"""The engine: installed, complete, and of a release that has what the plan needs."""

from collections.abc import Iterator

from tpdeploy.backends.base import Need
from tpdeploy.backends.capability import unbuilt
from tpdeploy.errors import InputError
from tpdeploy.launcher.doctor.case import Case
from tpdeploy.launcher.doctor.finding import Finding, fail, ok, warning
from tpdeploy.launcher.environments import missing_libraries, version_in
from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.profiles.models.library import load_model


def installed(case: Case) -> Iterator[Finding]:
    """The environment of the engine, and its version against what the plan needs."""
    backend, platform = case.engine.backend, case.engine.platform
    named = case.engine.executable or case.engine.python or case.engine.image
    if case.plan and not named and (why := unbuilt(backend, case.plan)):
        yield fail("engine", why, "name a build of your own: --executable PATH")
    if case.engine.image:
        yield ok("engine", f"{backend.name} from the image {case.engine.image}")
        return
    if case.environment is None:
        seen = f"{backend.name} for {platform} is not installed"
        install = f"tpdeploy backends install {backend.name} --platform {platform}"
        yield fail("engine", seen, install)
        return
    spec = backend.environment(platform)
    version = version_in(case.environment, spec.distribution)
    need = _need(case) if case.plan else None
    if need and version and need.since.is_after(version):
        split = case.plan.parallelism.words if case.plan else ""
        seen = f"{split} needs {need.words}; {spec.distribution} {version} is installed"
        yield fail("engine", seen, f"tpdeploy backends install {backend.name}")
    else:
        seen = f"{backend.name} {version or ''}".strip()
        yield _judged(case, f"{seen}, in {case.environment.executables.parent}", version)
    if not (case.engine.executable or case.engine.python):
        for who in missing_libraries(spec):
            yield fail("engine", f"{backend.name} lacks a library of the system", f"install {who}")


def _judged(case: Case, seen: str, version: str | None) -> Finding:
    """Whether its release is one that the adapter accepts, whoever named it."""
    backend = case.engine.backend
    objection = backend.objection(case.engine.platform, version) if version else ""
    if not objection:
        return ok("engine", seen)
    install = f"tpdeploy backends install {backend.name} --platform {case.engine.platform}"
    return warning("engine", f"{seen}: {objection}", install)


def _need(case: Case) -> Need | None:
    """What the planned width needs of the engine's release."""
    assert case.plan is not None  # noqa: S101 - asked for a plan alone
    split = case.plan.parallelism
    if not _cuts_experts(case.plan):
        return None
    try:
        shape = load_model(case.plan.model.path or case.plan.model.id)
    except InputError:
        return None  # the hub is out of reach, or the folder gone: others tell
    return case.engine.backend.widths(shape, split.tensor).needs.get(split.tensor)


def _cuts_experts(plan: DeploymentPlan) -> bool:
    """Whether more than one rank holds a part of the same tensor; experts may be whole."""
    split = plan.parallelism
    return split.tensor > 1 and not (split.expert_parallel or split.data_parallel)
