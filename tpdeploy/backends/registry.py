"""Finding backends: built-in and foreign ones come through the same entry points."""

from collections import Counter
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

from tpdeploy.backends.base import Backend
from tpdeploy.errors import InputError, TpdeployError, nearest

GROUP = "tpdeploy.backends"


@dataclass(frozen=True)
class Broken:
    """A backend that is installed but cannot be loaded."""

    name: str
    reason: str


def backend_names() -> tuple[str, ...]:
    """The names of all installed backends, loadable or not."""
    return tuple(sorted({entry.name for entry in _entries()}))


def load_backend(name: str) -> Backend:
    """The backend called `name`.

    Raises:
        InputError: no such backend.
        TpdeployError: two packages claim the name, or the backend cannot be loaded.
    """
    found = [entry for entry in _entries() if entry.name == name]
    if not found:
        raise InputError(f"unknown backend {name!r}; {nearest(name, backend_names())}")
    if len(found) > 1:
        owners = ", ".join(entry.value for entry in found)
        raise TpdeployError(f"two packages provide a backend called {name}: {owners}; remove one")
    loaded = _load(found[0])
    if isinstance(loaded, Broken):
        raise TpdeployError(f"backend {name} cannot be loaded: {loaded.reason}")
    return loaded


def load_backends() -> tuple[list[Backend], list[Broken]]:
    """Every backend that loads, and why each other one does not."""
    entries = _entries()
    twice = {name for name, times in Counter(entry.name for entry in entries).items() if times > 1}
    loaded = [_load(entry) for entry in entries if entry.name not in twice]
    backends = [item for item in loaded if isinstance(item, Backend)]
    broken = [item for item in loaded if isinstance(item, Broken)]
    return backends, broken + [Broken(name, "two packages provide it") for name in sorted(twice)]


def _entries() -> list[EntryPoint]:
    return sorted(entry_points(group=GROUP), key=lambda entry: entry.name)


def _load(entry: EntryPoint) -> Backend | Broken:
    """The backend of an entry point; a foreign package may fail in any way while it loads."""
    try:
        backend = entry.load()()
    except Exception as error:
        return Broken(entry.name, f"{type(error).__name__}: {error}")
    if not isinstance(backend, Backend):
        return Broken(entry.name, f"{entry.value} is not a tpdeploy.backends.base.Backend")
    return backend
