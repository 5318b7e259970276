"""Inkling's tower: linear layers that fold a patch into ever fewer and longer vectors.

As vLLM 0.32 plans them (plan_out_scales in its models/inkling/common/towers.py).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from math import log

from tpdeploy.profiles.models.config.encoders.parameters import Parameters, linear, norm
from tpdeploy.profiles.models.config.keys import ConfigKeys

# Sizes of a patch and of the tower, so that few plans are compared.
MOST_PIXELS, MOST_FRAMES, MOST_LAYERS = 256, 16, 1000
MULTIPLE = 64


@dataclass(frozen=True)
class Scale:
    """What one vector stands for, and how long it is."""

    pixels: int
    size: int


def folded_patches(keys: ConfigKeys) -> Parameters:
    """Linear layers with a norm behind each, whole on every rank."""
    hidden = keys.whole("decoder_dmodel", "text_hidden_size")
    scales = _planned(tuple(_scales(keys)), keys.whole("n_layers", most=MOST_LAYERS))
    sizes = [*(scale.size for scale in scales[1:-1]), hidden]
    found = Parameters()
    for (before, after), size in zip(pairwise(scales), sizes, strict=True):
        inputs = before.size * (after.pixels // before.pixels)
        found += linear(size, inputs, bias=False) + norm(size, bias=False)
    return found


def _scales(keys: ConfigKeys) -> Iterator[Scale]:
    """From one pixel to the whole patch: first its sides grow by their prime factors, then time."""
    channels = keys.whole("n_channels", "num_channels")
    pixels = 1
    yield Scale(pixels, channels)
    sides = _primes(keys.whole("patch_size", most=MOST_PIXELS))
    frames = _primes(keys.whole("temporal_patch_size", most=MOST_FRAMES))
    for factor in (*(side**2 for side in sides), *frames):
        pixels *= factor
        yield Scale(pixels, -(-pixels * channels // MULTIPLE) * MULTIPLE)


def _planned(scales: Sequence[Scale], layers: int) -> Sequence[Scale]:
    """Those that `layers` layers lead to, as evenly as may be; the first and the last are kept."""
    last = scales[-1]
    whole = log(last.pixels * scales[0].size)
    even = [whole * i / layers for i in range(layers + 1)]

    def missed(scale: Scale, at: float) -> float:
        return abs(at - log(scale.pixels))

    if layers < len(scales):
        chosen = min(
            combinations(scales, layers + 1),
            key=lambda some: sum(map(missed, some, even)),
        )
    else:
        chosen = tuple(min(scales, key=lambda scale: missed(scale, at)) for at in even)
    return (scales[0], *chosen[1:-1], last)


def _primes(number: int) -> list[int]:
    """Its prime factors, the greatest first."""
    found: list[int] = []
    factor = 2
    while number > 1:
        while number % factor == 0:
            found.insert(0, factor)
            number //= factor
        factor += 1
    return found
