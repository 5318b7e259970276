"""ContextLayers: what equal layers that look at their context cost on one rank."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ContextLayers:
    """Equal layers whose queries look at the tokens of their context, on one rank.

    A pair is one query token and one token of context that it attends to. DeepSeek-V4's layers are
    listed twice: for their window, and for the compressed entries, which stand for several tokens
    each and are what a query attends to and reads. An indexer looks at all of the context to pick
    what attention looks at.
    """

    kind: Literal["full", "windowed", "latent", "sparse", "compressed", "index"]
    layers: int
    most_tokens: int | None  # a query attends to no more; None: to all of its context
    pair_flops: float  # in one layer, in a prefill
    decode_pair_flops: float  # in one layer, in a decode step
    token_bytes: float  # read for each token attended to, in one layer
    tokens_per_entry: int = 1

    def attended(self, context: float) -> float:
        """Tokens (or entries) that a query with `context` tokens before it attends to."""
        entries, most = context / self.tokens_per_entry, self.most_tokens
        return entries if most is None or entries < most else most
