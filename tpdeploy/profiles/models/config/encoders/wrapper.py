"""Wrapper: a multimodal config.json, as what counts its projector sees it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tpdeploy.profiles.models.config.encoders.parameters import Parameters
from tpdeploy.profiles.models.config.keys import ConfigKeys


@dataclass(frozen=True)
class Wrapper:
    """A multimodal config.json: its own keys, its text model's and its tower's."""

    keys: ConfigKeys
    text: ConfigKeys
    tower: ConfigKeys

    @property
    def hidden(self) -> int:
        """Of the text model."""
        return self.text.whole("hidden_size", "n_embd")

    @property
    def size(self) -> int:
        """The hidden size of the tower."""
        return self.tower.whole("hidden_size")

    def part(self, name: str, defaults: Mapping[str, object]) -> ConfigKeys:
        """The keys under `name`, and `defaults` for those left out."""
        part = self.keys.part(name)
        config = part.config if part else {}
        return ConfigKeys({**defaults, **config}, self.keys.id, f"{self.keys.where}'s {name}")


Projector = Callable[[Wrapper], Parameters]
