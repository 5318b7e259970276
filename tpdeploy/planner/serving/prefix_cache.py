"""Prefix cache: which blocks of prompts a replica still holds, the least recently used go first."""

from collections import OrderedDict
from collections.abc import Iterable, Sequence

from tpdeploy.planner.trace import Recorded


class PrefixCache:
    """Blocks that are kept until others need their place; answers take places too.

    What is in it is settled when a request arrives: blocks of a prompt count from then on.
    """

    def __init__(self, blocks: int | None = None) -> None:
        """Room for so many `blocks`; None: for all."""
        self._room = blocks
        self._held = OrderedDict[int, None]()
        self._answers = -1  # the next block of an answer, which no prompt names

    def holds(self, blocks: Sequence[int]) -> int:
        """How many of a prompt's first `blocks` are held."""
        held = self._held
        return next((n for n, block in enumerate(blocks) if block not in held), len(blocks))

    def take(self, blocks: Sequence[int], of_answer: int = 0) -> int:
        """How many of a prompt's first `blocks` are held; they all are from now on."""
        held, hits = self._held, self.holds(blocks)
        answer = range(self._answers, self._answers - of_answer, -1)
        self._answers -= of_answer
        # The first blocks are of use to most others: they are let go last.
        for block in (*answer, *reversed(blocks)):
            held[block] = None
            held.move_to_end(block)
        while self._room is not None and len(held) > self._room:
            held.popitem(last=False)
        return hits


def cached_tokens(cache: PrefixCache, request: Recorded, block_tokens: int) -> int:
    """Prompt tokens of `request` that `cache` holds: whole blocks, and never the last token."""
    hits = cache.take(request.blocks, -(-request.answer // block_tokens))
    return min(hits * block_tokens, request.prompt - 1)


def shared_share(requests: Iterable[Recorded], block_tokens: int) -> float:
    """Share of all prompt tokens in blocks that came before, were none ever let go."""
    cache, cached, asked = PrefixCache(), 0, 0
    for request in requests:
        cached += min(cache.take(request.blocks) * block_tokens, request.prompt - 1)
        asked += request.prompt
    return cached / asked
