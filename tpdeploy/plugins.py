"""Plug-ins: what this package and others offer by entry points, found by group and name."""

import sys
from collections import Counter
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from tpdeploy.errors import InputError, TpdeployError, nearest

T = TypeVar("T")


def installed(group: str) -> frozenset[str]:
    """The names in an entry-point group; nothing is loaded."""
    return frozenset(entry.name for entry in _offered(group, tuple(sys.path)))


@cache
def _offered(group: str, path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """What the packages on `path`, which is `sys.path`, offer.

    To find it all of their metadata is read, which takes as long as a small plan: once is enough.
    """
    return tuple(entry_points(group=group))


@dataclass(frozen=True)
class Broken:
    """A plug-in that is installed but cannot be loaded."""

    name: str
    reason: str


@dataclass(frozen=True)
class Group(Generic[T]):
    """The plug-ins of one entry-point group; each is a class of `kind` that takes no argument."""

    name: str
    word: str  # what one of them is, in messages
    kind: type[T]

    def names(self) -> tuple[str, ...]:
        """The names of all that are installed, loadable or not."""
        return tuple(sorted({entry.name for entry in self._entries()}))

    def load(self, name: str) -> T:
        """The one called `name`.

        Raises:
            InputError: there is none.
            TpdeployError: two packages claim the name, or it cannot be loaded.
        """
        found = [entry for entry in self._entries() if entry.name == name]
        if not found:
            raise InputError(f"unknown {self.word} {name!r}; {nearest(name, self.names())}")
        if len(found) > 1:
            owners = ", ".join(entry.value for entry in found)
            raise TpdeployError(
                f"two packages provide a {self.word} called {name}: {owners}; remove one"
            )
        loaded = self._load(found[0])
        if isinstance(loaded, Broken):
            raise TpdeployError(f"{self.word} {name} cannot be loaded: {loaded.reason}")
        return loaded

    def load_all(self) -> tuple[list[T], list[Broken]]:
        """Every one that loads, and why each other one does not."""
        entries = self._entries()
        times = Counter(entry.name for entry in entries)
        loaded = [self._load(entry) for entry in entries if times[entry.name] == 1]
        good = [item for item in loaded if not isinstance(item, Broken)]
        broken = [item for item in loaded if isinstance(item, Broken)]
        twice = sorted(name for name, count in times.items() if count > 1)
        return good, broken + [Broken(name, "two packages provide it") for name in twice]

    def _entries(self) -> list[EntryPoint]:
        return sorted(_offered(self.name, tuple(sys.path)), key=lambda entry: entry.name)

    def _load(self, entry: EntryPoint) -> T | Broken:
        """That of an entry point; a foreign package may fail in any way while it loads."""
        try:
            made = entry.load()()
        except Exception as error:
            return Broken(entry.name, f"{type(error).__name__}: {error}")
        if not isinstance(made, self.kind):
            kind = f"{self.kind.__module__}.{self.kind.__name__}"
            return Broken(entry.name, f"{entry.value} is not a {kind}")
        return made
