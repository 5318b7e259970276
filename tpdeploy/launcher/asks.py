"""What commands ask of the supervisor of a deployment: a file in its folder, taken when read."""

from typing import Literal

from pydantic import Field

from tpdeploy.bounds import Index
from tpdeploy.errors import InputError
from tpdeploy.files import kind_of, write_whole
from tpdeploy.launcher import state
from tpdeploy.profiles.record import Record, Text
from tpdeploy.records import dump_record, read_record


class Ask(Record):
    """One thing to be done, after which the supervisor takes the next."""

    action: Literal["stop", "restart", "scale"]
    drain_s: float = Field(ge=0, description="allowed for requests in flight")
    members: tuple[Text, ...] = Field(default=(), description="to restart")
    replicas: Index = Field(default=0, description="to scale to")


def put(name: str, ask: Ask) -> None:
    """Ask the supervisor of the deployment called `name`."""
    write_whole(state.folder_of(name) / "ask.yaml", dump_record(ask))


def pending(name: str) -> bool:
    """Whether something was asked that was not taken yet."""
    return bool(kind_of(state.folder_of(name) / "ask.yaml"))


def take(name: str) -> Ask | None:
    """What was asked, if anything was; nobody else finds it any more."""
    if not pending(name):
        return None
    path = state.folder_of(name) / "ask.yaml"
    try:
        return read_record(path, Ask)
    except InputError:  # nobody but this user can write there
        return None
    finally:
        path.unlink(missing_ok=True)
