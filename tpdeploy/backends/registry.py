"""Finding backends: built-in and foreign ones come through the same entry points."""

from tpdeploy.backends.base import Backend
from tpdeploy.plugins import Broken, Group

BACKENDS: Group[Backend] = Group("tpdeploy.backends", "backend", Backend)  # type: ignore[type-abstract]


def backend_names() -> tuple[str, ...]:
    """The names of all installed backends, loadable or not."""
    return BACKENDS.names()


def load_backend(name: str) -> Backend:
    """The backend called `name`.

    Raises:
        InputError: no such backend.
        TpdeployError: two packages claim the name, or the backend cannot be loaded.
    """
    return BACKENDS.load(name)


def load_backends() -> tuple[list[Backend], list[Broken]]:
    """Every backend that loads, and why each other one does not."""
    return BACKENDS.load_all()
