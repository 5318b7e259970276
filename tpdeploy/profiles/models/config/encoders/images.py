"""What towers of images have in common: patches, and where they stand."""

from collections.abc import Callable

from tpdeploy.profiles.models.config.encoders.parameters import Parameters, linear
from tpdeploy.profiles.models.config.keys import ConfigKeys

Tower = Callable[[ConfigKeys], Parameters]


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
