"""Engines in containers: the same command, run by Docker or Podman from an image of the user's."""

import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from tpdeploy.errors import InputError
from tpdeploy.files import kind_of

RUNTIMES = ("docker", "podman")
# How each lends the GPUs; which of them an engine uses its own variables say.
GPUS: Mapping[str, tuple[str, ...]] = {
    "docker": ("--gpus", "all"),
    "podman": ("--device", "nvidia.com/gpu=all"),
}


def runtime() -> str:
    """The first of RUNTIMES that is installed.

    Raises:
        InputError: none is.
    """
    for name in RUNTIMES:
        if shutil.which(name):
            return name
    raise InputError(f"--container needs {' or '.join(RUNTIMES)}, and neither is installed")


def argv_in(
    image: str,
    name: str,
    argv: tuple[str, ...],
    variables: Iterable[str],
    *,
    folder: Path,
    gpus: bool,
) -> tuple[str, ...]:
    """The command that runs `argv` in a container called `name`.

    Variables go by name alone, their values through the environment of the runtime, so that no
    key shows. It shares the network of the machine, its memory for ranks that talk, the replica's
    `folder`, the Hugging Face cache, and what else `argv` names by its path, read-only.
    """
    with_ = runtime()
    cache = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    command = [with_, "run", "--rm", "--init", "--name", name, "--network", "host", "--ipc", "host"]
    command += GPUS[with_] if gpus else ()
    for variable in variables:
        command += ["--env", variable]
    command += ["--volume", f"{folder}:{folder}", "--volume", f"{cache}:{cache}"]
    command += ["--env", f"HF_HOME={cache}"]
    for word in argv:
        if Path(word).is_absolute() and kind_of(Path(word)) and folder not in Path(word).parents:
            command += ["--volume", f"{word}:{word}:ro"]
    return (*command, image, *argv)


def remove(names: Iterable[str]) -> None:
    """End containers that may have outlived the runtime's own process; gone ones are none."""
    if wanted := [name for name in names if name]:
        command = [runtime(), "rm", "--force", *wanted]
        subprocess.run(command, capture_output=True, check=False)
