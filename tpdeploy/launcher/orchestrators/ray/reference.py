"""How a deployment on a Ray cluster is found again."""

from dataclasses import dataclass

OWNED = "+serve"


@dataclass(frozen=True)
class Reference:
    """An application of the Serve that `dashboard` leads to; `owned`: we have started that."""

    dashboard: str
    application: str
    owned: bool = False

    def __str__(self) -> str:
        return f"{self.dashboard}#{self.application}{OWNED if self.owned else ''}"

    @classmethod
    def read(cls, text: str) -> "Reference":
        """That which `str` wrote."""
        url, _, name = text.partition("#")
        return cls(url, name.removesuffix(OWNED), owned=name.endswith(OWNED))
