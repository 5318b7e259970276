"""Strict look-ups in a config.json: what is missing or impossible is named, never guessed."""

from collections.abc import Mapping

from tpdeploy.errors import InputError

# No number of a model comes near it; sizes multiplied from numbers below it stay finite.
MOST = 2**40


class ConfigKeys:
    """The keys of one config.json (or of a part of it), read by type.

    Every method raises InputError that names the model, the file, the key and its value. A key
    that is null counts as left out.
    """

    def __init__(
        self,
        config: Mapping[str, object],
        id: str,
        where: str = "config.json",
        renamed: Mapping[str, str] | None = None,
    ) -> None:
        self.config = config
        self.id = id
        self.where = where
        self.renamed = renamed or {}

    def named(self, name: str) -> str:
        """What this config calls the key that others call `name`."""
        return self.renamed.get(name, name)

    def value(self, name: str) -> object:
        """Whatever stands under `name`, or what this config calls it; None when left out."""
        found = self.config.get(self.named(name))
        return self.config.get(name) if found is None else found

    def whole(
        self, *names: str, default: int | None = None, least: int = 1, most: int = MOST
    ) -> int:
        """The first of `names` that is there, a whole number from `least` to `most`."""
        for name in names:
            value = self.value(name)
            if value is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise self.refused(name, f"need a whole number of at least {least}")
            if value > most:
                raise self.refused(name, f"need a whole number of at most {most}")
            return value
        if default is None:
            raise InputError(f"{self.id}: {self.where} lacks {' or '.join(map(self.named, names))}")
        return default

    def optional(self, name: str) -> int | None:
        """A whole number, or None when left out or 0."""
        return self.whole(name, default=0, least=0) or None

    def flag(self, name: str, *, default: bool = False) -> bool:
        """A boolean of `config.json`; `default` where it is left out."""
        value = self.value(name)
        if value is not None and not isinstance(value, bool):
            raise self.refused(name, "need true or false")
        return default if value is None else value

    def text(self, name: str, *, default: str | None = None) -> str:
        """A string of `config.json`; `default`, if there is one, where it is left out."""
        value = self.value(name)
        if value is None and default is not None:
            return default
        if value is None:
            raise InputError(f"{self.id}: {self.where} lacks {self.named(name)}")
        if not isinstance(value, str):
            raise self.refused(name, "need text")
        return value

    def words(self, name: str) -> list[str]:
        """A list of words, empty when left out."""
        value = self.value(name) or []
        if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
            raise self.refused(name, "need a list of text")
        return value

    def numbers(self, name: str) -> list[int]:
        """A list of whole numbers, empty when left out."""
        value = self.value(name) or []
        if not isinstance(value, list) or not all(type(number) is int for number in value):
            raise self.refused(name, "need a list of whole numbers")
        return value

    def part(self, name: str) -> "ConfigKeys | None":
        """The object under `name`, or None when left out."""
        value = self.value(name)
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise self.refused(name, "need an object")
        return ConfigKeys(value, self.id, f"{self.where}'s {self.named(name)}")

    def refused(self, name: str, need: str) -> InputError:
        """The error for the value of `name`; `need` says what would work."""
        value = repr(self.value(name))
        shown = value if len(value) <= 80 else f"{value[:77]}..."
        return InputError(f"{self.id}: {self.where} gives {self.named(name)} = {shown}: {need}")
