"""Inputs of n-grams (Qwen4-Exp), as a config.json describes them."""

from collections.abc import Iterator
from itertools import islice
from math import isqrt

from tpdeploy.profiles.models.config.keys import ConfigKeys
from tpdeploy.profiles.models.shape import NgramInputs

# What is looked up is a few dozen primes in the tens of millions.
MOST_ROWS, MOST_TABLES = 2**31, 2**10


def ngrams_from_config(keys: ConfigKeys) -> NgramInputs | None:
    """Those of the layers that `ple_layer_ids` names, counted from one; None: of no layer.

    Each hash has rows of its own, a prime number of them; no two hashes of a model have the same.
    """
    layers = len(set(keys.numbers("ple_layer_ids")))
    if not layers:
        return None
    orders = keys.whole("ngram_size", least=2, most=MOST_TABLES) - 1
    hashes = orders * keys.whole("heads_per_ngram", most=MOST_TABLES)
    if layers * hashes > MOST_TABLES:
        raise keys.refused("heads_per_ngram", f"need at most {MOST_TABLES} tables in all")
    size = keys.whole("ple_embed_dim", "hidden_size")
    if size % hashes:
        raise keys.refused("ple_embed_dim", f"need a multiple of the {hashes} hashes")
    primes = _primes(keys.whole("ngram_vocab_size_base", most=MOST_ROWS))
    multiple = keys.whole("make_ngram_vocab_size_divisible_by")
    stated = [sum(islice(primes, hashes)) for _ in range(layers)]
    return NgramInputs(
        rows=tuple(-(-rows // multiple) * multiple for rows in stated),
        row_size=size // hashes,
        rows_per_token=hashes,
        convolution=keys.whole("ple_conv_kernel_size"),
    )


def _primes(least: int) -> Iterator[int]:
    """The primes from `least` on."""
    number = least
    while True:
        if _is_prime(number):
            yield number
        number += 1


def _is_prime(number: int) -> bool:
    if number < 3 or number % 2 == 0:
        return number == 2
    return all(number % divisor for divisor in range(3, isqrt(number) + 1, 2))
