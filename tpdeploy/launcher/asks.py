"""What commands ask of a deployment's supervisor: a file in its folder, removed when read."""

import secrets
from pathlib import Path
from typing import Literal

from pydantic import Field

from tpdeploy.bounds import Index
from tpdeploy.errors import InputError
from tpdeploy.files import kind_of, write_whole
from tpdeploy.launcher import state
from tpdeploy.profiles.record import Record, Text
from tpdeploy.records import dump_record, read_record


class Ask(Record):
    """One request to the supervisor, which handles one after another."""

    action: Literal["stop", "restart", "scale"]
    drain_s: float = Field(ge=0, description="allowed for requests in flight")
    members: tuple[Text, ...] = Field(default=(), description="to restart")
    replicas: Index = Field(default=0, description="to scale to")
    id: str = Field(default_factory=lambda: secrets.token_hex(8), max_length=16)


def put(name: str, ask: Ask) -> None:
    """Ask the supervisor of the deployment called `name`."""
    write_whole(_path(name), dump_record(ask))


def pending(name: str) -> Ask | None:
    """The request that the supervisor has not taken yet."""
    if not kind_of(_path(name)):
        return None
    try:
        return read_record(_path(name), Ask)
    except InputError:  # taken meanwhile, or broken: nobody but this user can write there
        taken(name)
        return None


def taken(name: str) -> None:
    """The request is taken: remove it, so that nobody else takes it."""
    _path(name).unlink(missing_ok=True)


def _path(name: str) -> Path:
    return state.folder_of(name) / "ask.yaml"
