"""`tpdeploy backends` as a user meets it: what is there, what is missing, what installs it."""

import json
import sys
from functools import partial
from pathlib import Path

from tests.cli.commands import tpdeploy
from tpdeploy.backends.vllm import ENVIRONMENTS
from tpdeploy.launcher.environments import MARKER
from tpdeploy.launcher.orchestrators.ray.environment import with_ray

backends = partial(tpdeploy, "backends", width=100)


def pretend_installed(home: Path, environment: str) -> Path:
    folder = home / "environments" / environment
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    (folder / MARKER).touch()
    return folder


def test_a_fresh_machine_shows_what_installs_each(tmp_path: Path) -> None:
    """Engines, not installed, each with its command."""
    listed = backends(home=tmp_path)
    assert listed.returncode == 0
    assert "tpdeploy backends install vllm" in listed.stdout


def test_what_is_installed_shows_where(tmp_path: Path) -> None:
    """--json has version and folder; what is missing has none."""
    folders = [pretend_installed(tmp_path, f"{s.name}-{s.version}") for s in ENVIRONMENTS.values()]
    listed = json.loads(backends("--json", home=tmp_path).stdout)["engines"]
    vllm = next(engine for engine in listed if engine["name"] == "vllm")
    other = next(engine for engine in listed if engine["name"] == "deepspeed-mii")
    assert vllm["installed"]
    assert vllm["environment"] in map(str, folders)
    assert vllm["environment"].endswith(vllm["version"])
    assert (other["installed"], other["environment"]) == (False, None)


def test_installing_what_is_there_does_nothing(tmp_path: Path) -> None:
    """Said in a line, at once, without network."""
    spec = ENVIRONMENTS["cpu"]
    pretend_installed(tmp_path, f"{spec.name}-{spec.version}")
    done = backends("install", "vllm", "--platform", "cpu", home=tmp_path)
    assert done.returncode == 0
    assert done.stderr.count("is installed") == 1


def test_ray_is_installed_beside_the_engine_and_not_into_its_environment(tmp_path: Path) -> None:
    """Its environment has a name of its own, and the engine's stays as it is."""
    spec = with_ray(ENVIRONMENTS["cpu"])
    pretend_installed(tmp_path, f"{spec.name}-{spec.version}")
    done = backends("install", "vllm", "--platform", "cpu", "--with", "ray", home=tmp_path)
    assert done.stderr == f"vllm-cpu-ray {spec.version} is installed\n"
    listed = json.loads(backends("--json", home=tmp_path).stdout)["engines"]
    assert not any(engine["installed"] for engine in listed)
    other = backends(
        *("install", "deepspeed-mii", "--platform", "cuda", "--with", "ray"), home=tmp_path
    )
    unknown = backends("install", "vllm", "--with", "dask", home=tmp_path)
    assert "--with ray: Ray Serve LLM runs vllm, not deepspeed-mii" in other.stderr
    assert "unknown orchestrator 'dask'" in unknown.stderr
    assert (other.returncode, unknown.returncode) == (2, 2)


def test_unknown_names_are_one_clear_line(tmp_path: Path) -> None:
    """The nearest engine, or the platforms there are; exit code 2."""
    engine = backends("install", "vlm", home=tmp_path)
    platform = backends("install", "vllm", "--platform", "tpu", home=tmp_path)
    assert (engine.returncode, platform.returncode) == (2, 2)
    assert "unknown backend 'vlm'; did you mean vllm?" in engine.stderr
    assert "--platform tpu: choose cuda or cpu" in platform.stderr
    assert engine.stderr.count("\n") == platform.stderr.count("\n") == 1
