"""Efficiency records: a narrower format that is slower than a wider one says why."""

from itertools import permutations
from pathlib import Path

import pytest

from tpdeploy.profiles import DATA
from tpdeploy.profiles.devices.accelerator import Efficiency, Kernel, KernelFormat
from tpdeploy.records import read_record

RECORDS = sorted((DATA / "efficiency").glob("*/*.yaml"))
WEIGHTS = ("matmul", "experts")
ATTENTION = ("prefill_attention", "decode_attention", "latent_prefill", "latent_decode")
# Stored bits of a value, scales included.
BITS: dict[KernelFormat, float] = {
    "bf16": 16,
    "fp8": 8,
    "fp8-block": 8,
    "int8": 8,
    "fp4": 4.5,
    "mxfp4": 4.25,
    "int4": 4.25,
}


def pairs(path: Path, kinds: tuple[str, ...]) -> list[tuple[str, Kernel, Kernel, float]]:
    """Each narrower format beside each wider one: their names, both kernels, bits over bits."""
    kernels = read_record(path, Efficiency).kernels
    return [
        (
            f"{kind} {narrow} beside {wide}",
            formats[narrow],
            formats[wide],
            BITS[narrow] / BITS[wide],
        )
        for kind in kinds
        for formats in [getattr(kernels, kind)]
        for narrow, wide in permutations(formats, 2)
        if BITS[narrow] < BITS[wide]
    ]


def named(path: Path) -> str:
    """The record's engine and class."""
    return f"{path.parent.name}/{path.stem}"


@pytest.mark.parametrize("path", RECORDS, ids=named)
def test_a_narrower_format_that_is_slower_says_why(path: Path) -> None:
    """A third less per byte, or a start half as long again, comes with its reason."""
    for name, narrow, wide, _ in pairs(path, WEIGHTS + ATTENTION):
        slow = narrow.memory < wide.memory * 2 / 3 or narrow.start_s > 1.5 * wide.start_s
        assert not slow or narrow.note, name


@pytest.mark.parametrize("path", RECORDS, ids=named)
def test_fewer_bits_are_never_read_slower_than_16(path: Path) -> None:
    """A weight, or a token of context, never takes longer to read than in 16 bits."""
    for name, narrow, wide, bits in pairs(path, (*WEIGHTS, "decode_attention", "latent_decode")):
        if name.endswith("bf16"):
            assert bits / narrow.memory <= 1.02 / wide.memory, name


@pytest.mark.parametrize("path", RECORDS, ids=named)
def test_what_is_taken_over_is_of_low_confidence(path: Path) -> None:
    """A kernel with figures of another one's says so, and is not trusted like a measured one."""
    kernels = read_record(path, Efficiency).kernels
    for kind in WEIGHTS + ATTENTION:
        for form, kernel in getattr(kernels, kind).items():
            if kernel.source and "taken over" in kernel.source:
                assert kernel.confidence == "low", f"{kind} {form}"
