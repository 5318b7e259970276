"""The requests of a measurement: drawn at random, or read from a file of real prompts."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import cycle, repeat
from pathlib import Path

from tpdeploy.bounds import MOST_TOKENS
from tpdeploy.errors import InputError, shown
from tpdeploy.files import MOST_TABLE_BYTES, read_text
from tpdeploy.planner.trace import Trace
from tpdeploy.planner.workload import Workload
from tpdeploy.records import parse_json

# Blocks whose tokens are kept, of some kilobytes each: those that come back soon.
BLOCKS_KEPT = 4096


@dataclass(frozen=True)
class Asked:
    """One request: a prompt, as token ids or as text, and how many tokens it wants."""

    prompt: list[int] | str
    output_tokens: int


@dataclass(frozen=True)
class Draw:
    """How random requests are drawn.

    The first `shared_prefix` tokens of every prompt are the same, so that a prefix cache helps;
    without them no two prompts begin alike.
    """

    seed: int = 0
    shared_prefix: int = 0


def random_requests(vocab: int, load: Workload, how: Draw) -> Iterator[Asked]:
    """Endless requests of random token ids below `vocab`, of the load's lengths.

    Lengths that were planned one by one are sent in that order, whatever the seed.

    Token ids, not text: text has another length after every tokenizer. Beyond the shared prefix
    each prompt begins with another token than those before it (until the vocabulary is used up).
    """
    draw = random.Random(how.seed)  # noqa: S311 - reproducible load, not cryptography
    ids = _usual_ids(vocab)
    shared = draw.choices(ids, k=how.shared_prefix)
    first = draw.randrange(len(ids))
    planned = cycle(load.lengths.pairs) if load.lengths else repeat(None)
    for pair in planned:
        tokens = pair[0] if pair else _length(load.input_tokens, load.length_spread, draw)
        own = max(1, tokens - len(shared))
        prompt = [*shared[: tokens - own], ids[first], *draw.choices(ids, k=own - 1)]
        answer = pair[1] if pair else _length(load.output_tokens, load.length_spread, draw)
        yield Asked(prompt, answer)
        first = (first + 1) % len(ids)


def recorded_requests(vocab: int, trace: Trace, seed: int) -> Iterator[tuple[float, Asked]]:
    """The requests of `trace` in random token ids, each with the second at which it is due.

    Equal blocks are equal tokens, so that a server's prefix cache finds what it found when they
    were recorded; without blocks no two prompts begin alike. The same seed asks the same again.
    """
    ids, size = _usual_ids(vocab), trace.recording.block_tokens or 0
    draw = random.Random(seed)  # noqa: S311 - reproducible load, not cryptography
    first = draw.randrange(len(ids))

    @lru_cache(BLOCKS_KEPT)
    def tokens_of(block: int) -> list[int]:
        return random.Random(f"{seed} {block}").choices(ids, k=size)  # noqa: S311

    for request in trace.requests:
        prompt = [token for block in request.blocks for token in tokens_of(block)]
        if not prompt:
            prompt, first = [ids[first]], (first + 1) % len(ids)
        prompt += draw.choices(ids, k=max(0, request.prompt - len(prompt)))
        yield request.at, Asked(prompt[: request.prompt], request.answer)


def _usual_ids(vocab: int) -> range:
    """Token ids between the special ones, which lie at either end of a vocabulary.

    They are 0 to 16 in SmolLM2, from 128,000 of 128,256 in Llama 3, from 151,643 of 151,936 in
    Qwen, so the first and the last tenth are left out.
    """
    return range(vocab // 10, max(vocab // 10 + 1, vocab - vocab // 10))


def read_requests(path: Path, output_tokens: int) -> Iterator[Asked]:
    """The requests of a JSON Lines file in order, repeated endlessly.

    A line is {"prompt": text or token ids, "output_tokens": number}; the second is `output_tokens`
    where it is left out.

    Raises:
        InputError: no such file, an empty one, or a line of another kind; its number is named.
    """
    lines = read_text(path, MOST_TABLE_BYTES).split("\n")
    found = [
        _asked(path, number, line, output_tokens)
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]
    if not found:
        raise InputError(f"--prompts {path}: holds no request")
    return cycle(found)


def _length(tokens: int, spread: float, draw: random.Random) -> int:
    return max(1, round(tokens * (1 + draw.uniform(-spread, spread)))) if spread else tokens


def _asked(path: Path, number: int, line: str, output_tokens: int) -> Asked:
    where = f"--prompts {path}, line {number}"
    content = parse_json(line, where)
    if not isinstance(content, dict) or not _is_prompt(content.get("prompt")):
        raise InputError(f'{where}: give {{"prompt": "text or token ids", "output_tokens": 64}}')
    wanted = content.get("output_tokens", output_tokens)
    if type(wanted) is not int or not 1 <= wanted <= MOST_TOKENS:
        raise InputError(f"{where}: output_tokens {shown(wanted)}: need 1 to {MOST_TOKENS:,}")
    return Asked(content["prompt"], wanted)


def _is_prompt(prompt: object) -> bool:
    if isinstance(prompt, str):
        return bool(prompt)
    return (
        isinstance(prompt, list)
        and bool(prompt)
        and all(type(i) is int and 0 <= i <= MOST_TOKENS for i in prompt)
    )
