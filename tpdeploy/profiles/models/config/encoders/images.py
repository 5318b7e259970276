"""What towers of images have in common: patches, where they stand, and plain layers."""

from collections.abc import Callable

from tpdeploy.profiles.models.config.encoders.parameters import (
    Parameters,
    block,
    linear,
    norm,
)
from tpdeploy.profiles.models.config.keys import ConfigKeys

Tower = Callable[[ConfigKeys], Parameters]

# Sizes that transformers takes where many configs leave them out: those of ViT.
BASE = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12}
LARGE = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24}
VIT = {"image_size": 224, "patch_size": 16}


def patch(keys: ConfigKeys, *, bias: bool = True) -> Parameters:
    """The convolution that makes one embedding of each patch."""
    inputs = keys.whole("num_channels", default=3) * side(keys, "patch_size") ** 2
    return linear(keys.whole("hidden_size"), inputs, bias=bias)


def patches(keys: ConfigKeys) -> int:
    """Patches of one image of the size that the tower was made for."""
    return int((side(keys, "image_size") // side(keys, "patch_size")) ** 2)


def side(keys: ConfigKeys, name: str) -> int:
    """The side of a square that is given as one number or as two equal ones."""
    if not isinstance(keys.value(name), list):
        return keys.whole(name)
    sides = keys.numbers(name)
    if len(set(sides)) != 1:
        raise keys.refused(name, "need a square")
    return sides[0]


def plain_layers(keys: ConfigKeys) -> Parameters:
    """Plain layers, as many and as wide as `keys` say."""
    layer = block(keys.whole("hidden_size"), keys.whole("intermediate_size"))
    return layer * keys.whole("num_hidden_layers")


def unplaced(keys: ConfigKeys) -> Parameters:
    """SigLIP with rotary positions: VideoLLaMA 3."""
    return patch(keys) + plain_layers(keys) + norm(keys.whole("hidden_size"))


def idefics(keys: ConfigKeys) -> Parameters:
    """SigLIP without its head: Idefics, SmolVLM, PaddleOCR-VL."""
    hidden = keys.whole("hidden_size")
    return unplaced(keys) + Parameters(whole=patches(keys) * hidden)
