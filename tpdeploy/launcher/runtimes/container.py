"""Members in containers: the same command, run by Docker or Podman from an image of the user's."""

import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from tpdeploy.errors import InputError
from tpdeploy.files import kind_of
from tpdeploy.launcher.runtimes.base import Engine, Parts, Rendered, Replica
from tpdeploy.launcher.runtimes.local import Local, seen_devices, with_variables
from tpdeploy.launcher.runtimes.member import Member
from tpdeploy.profiles.models.hub_cache import hub_home

CLIENTS = ("docker", "podman")
# How each lends the GPUs; which of them an engine uses its own variables say.
GPUS: Mapping[str, tuple[str, ...]] = {
    "docker": ("--gpus", "all"),
    "podman": ("--device", "nvidia.com/gpu=all"),
}


class Container(Local):
    """Starts the client of a container each, which is a process like any other.

    The container may outlive it, so that it has a name that tells whose it is.
    """

    name: ClassVar[str] = "container"

    def check_program(self, engine: Engine) -> None:
        """The image has the engine; what runs it must be here."""
        client()

    def environment(self, engine: Engine) -> None:
        """It is in the image."""
        return

    @contextmanager
    def run_python(
        self, engine: Engine, arguments: Sequence[str], variables: Mapping[str, str]
    ) -> Iterator[tuple[str, ...]]:
        """In a container of its own, which is removed if its client has not ended it."""
        name = f"tpdeploy-python-{os.getpid()}"
        argv = argv_in(
            engine.image,
            name,
            ("python3", *arguments),
            variables,
            folder=Path(arguments[0]).parent,
            gpus=engine.platform == "cuda",
        )
        try:
            yield (*with_variables(variables), *argv)
        finally:
            remove(name)

    def render(self, replica: Replica, member: Member, parts: Parts) -> Rendered:
        """The engine's command in a container of the engine's image."""
        command, engine, folder = parts.leader, replica.engine, replica.folder
        variables = {**seen_devices(engine, replica.place.devices), **command.env}
        name = f"tpdeploy-{folder.parent.name}-{folder.name}"
        key = engine.backend.api_key_variable
        argv = argv_in(
            engine.image,
            name,
            command.argv,
            [*variables, *([key] if key else [])],
            folder=folder,
            gpus=engine.platform == "cuda",
        )
        files = {folder / name: text for name, text in command.files.items()}
        return Rendered(member.changed(reference=name), argv, variables, files)

    def listens(self, member: Member) -> bool:
        """Whether it answers: what runs in a container is not in its client's session."""
        return True

    def stop(self, members: Sequence[Member], grace_s: float) -> None:
        """End the clients, then what has outlived them; containers that are gone are none."""
        super().stop(members, grace_s)
        remove(*(member.reference for member in members))


def remove(*names: str) -> None:
    """End and remove the containers of these names, as far as there are any."""
    subprocess.run([client(), "rm", "--force", *names], capture_output=True, check=False)


def client() -> str:
    """The first of CLIENTS that is installed.

    Raises:
        InputError: none is.
    """
    for name in CLIENTS:
        if shutil.which(name):
            return name
    raise InputError(f"--container needs {' or '.join(CLIENTS)}, and neither is installed")


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

    Variables go by name alone, their values through the environment of the client, so that no
    key shows. It shares the network of the machine, its memory for ranks that talk, the replica's
    `folder`, the Hugging Face cache, and what else `argv` names by its path, read-only.
    """
    with_ = client()
    cache = hub_home()
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
