"""Names as people write them: with or without dashes, blanks, vendors and owners."""

import re

BETWEEN = re.compile(r"[\s_-]+")
# What a product name says besides the model: makers, product lines, and what every one has.
BESIDES = re.compile(r"\b(nvidia|amd|intel|instinct|tesla|geforce|hbm\d+e?)\b", re.IGNORECASE)
# The form of a module: SXM4 and SXM5 are told apart by the GPU's own name.
FORM = re.compile(r"\bsxm\d\b", re.IGNORECASE)


def key_of(name: str) -> str:
    """What is the same for two spellings of one name.

    >>> key_of("Llama 70b") == key_of("llama-70B")
    True
    """
    return BETWEEN.sub("", name.lower())


def gpu_key(name: str) -> str:
    """What is the same for two spellings of one GPU, a driver's product name among them.

    >>> gpu_key("A100-SXM4-80GB") == gpu_key("NVIDIA A100 SXM 80GB")
    True
    >>> gpu_key("rtx3090") == gpu_key("NVIDIA GeForce RTX 3090")
    True
    >>> gpu_key("H20-141") == gpu_key("H20-141GB")
    True
    """
    return key_of(FORM.sub("sxm", BESIDES.sub("", name))).removesuffix("gb")
