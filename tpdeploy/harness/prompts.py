"""Prompts of an exact number of tokens, no two alike."""

import random
from collections.abc import Iterator


def random_prompts(vocab: int, tokens: int, seed: int) -> Iterator[list[int]]:
    """Endless prompts of `tokens` random token ids below `vocab`; the same ones for a seed.

    Token ids, not text: text has another length after every tokenizer. Special tokens lie at
    either end of a vocabulary (0 to 16 in SmolLM2, from 128,000 of 128,256 in Llama 3, from
    151,643 of 151,936 in Qwen), so the first and the last tenth are left out. Each prompt
    begins with another token than those before it (until the vocabulary is used up), so that
    no prefix cache helps.
    """
    draw = random.Random(seed)  # noqa: S311 - reproducible load, not cryptography
    ids = range(vocab // 10, max(vocab // 10 + 1, vocab - vocab // 10))
    first = draw.randrange(len(ids))
    while True:
        yield [ids[first], *draw.choices(ids, k=tokens - 1)]
        first = (first + 1) % len(ids)
