"""GPUs as tables write them."""

import re

from tpdeploy.errors import InputError
from tpdeploy.profiles.devices.accelerator import Accelerator
from tpdeploy.profiles.devices.catalog import find_accelerator

# Words of a GPU's name that tell neither its chip nor its memory.
MAKERS = re.compile(r"^(nvidia|amd|intel)[ -]", re.IGNORECASE)
ADORNMENTS = re.compile(
    r"-(blackwell|edition|hbm\w*|nvl72|instinct|sxm\d*|oam)(?=-|$)", re.IGNORECASE
)


def find_gpu(text: str) -> Accelerator:
    """The accelerator a table means: `B300 SXM`, `NVIDIA H100 80GB HBM3`, `h200_sxm`.

    Raises:
        InputError: no such accelerator; the nearest names are offered.
    """
    plain = re.sub(r"\(.*?\)", "", text).strip()
    hyphens = re.sub(r"[\s_-]+", "-", plain).strip("-")
    bare = MAKERS.sub("", hyphens)
    ways = dict.fromkeys((plain, f"NVIDIA {bare}", hyphens, bare, ADORNMENTS.sub("", bare)))
    found = (device for way in ways if (device := _accelerator(way)))
    return next(found, None) or find_accelerator(plain)


def _accelerator(name: str) -> Accelerator | None:
    try:
        return find_accelerator(name)
    except InputError:
        return None
