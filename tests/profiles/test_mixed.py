"""GPUs of several kinds in one machine: each counts as the weakest, or the reason is said."""

import re

import pytest

from tpdeploy.errors import InputError
from tpdeploy.profiles.devices.catalog import find_accelerator
from tpdeploy.profiles.machine.gpus_spec import parse_gpus


def test_each_counts_as_the_weakest() -> None:
    """Memory, bytes/s and FLOP/s are the least of all, whichever kind has them."""
    cluster = parse_gpus("1x3090 + 2x4070-Ti")
    ampere, ada = find_accelerator("3090").peaks, find_accelerator("4070-Ti").peaks
    peaks = cluster.accelerator.peaks
    assert cluster.count == 3
    assert cluster.kinds == ("RTX-3090", "RTX-4070-Ti")
    assert peaks.memory_bytes == min(ampere.memory_bytes, ada.memory_bytes)
    assert peaks.memory_bytes_per_s == min(ampere.memory_bytes_per_s, ada.memory_bytes_per_s)
    assert set(peaks.flops_per_s) == set(ampere.flops_per_s) & set(ada.flops_per_s)
    assert all(
        peaks.flops_per_s[f] == min(ampere.flops_per_s[f], ada.flops_per_s[f])
        for f in peaks.flops_per_s
    )
    assert cluster.accelerator.compute_capability == 8.6


def test_the_slowest_pcie_joins_them() -> None:
    """PCIe 5.0 and 4.0 x8: the latter; A6000 exchanges directly, GeForce does not."""
    cluster = parse_gpus("1x5090+1x4060")
    assert cluster.fabric.name == "pcie-gen4-x8"
    assert not parse_gpus("1xA6000+1x3090").accelerator.peer_to_peer


def test_equal_ones_are_only_counted() -> None:
    """2 + 1 of a kind are three of it."""
    cluster = parse_gpus("2x3090+1x3090")
    assert (cluster.accelerator, cluster.count) == (find_accelerator("3090"), 3)
    assert cluster.kinds == ()


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("1x3090+1xMI300X", "no engine runs on all of them"),
        ("1x3090+", "need devices on both sides of +, as 1x3090"),
        ("2x8xH100+1x4090", "joins GPUs of one machine"),
        ("1x4090+1xCPU", "joins GPUs of one machine"),
        ("1xGB200+1x4090", "no PCIe joins all of them"),
        ("1x3090+1x9999", "unknown GPU 9999"),
        ("10x4090+10x3090", "pcie-gen4 joins 16"),
        ("0x4090+1x3090", "counts must be at least 1"),
    ],
)
def test_what_cannot_be_together_is_refused(spec: str, words: str) -> None:
    """In one line that says what was wrong."""
    with pytest.raises(InputError, match=re.escape(words)) as error:
        parse_gpus(spec)
    assert "\n" not in str(error.value)


def test_a_network_does_not_join_them() -> None:
    """They are one machine."""
    with pytest.raises(InputError, match="is one machine"):
        parse_gpus("1x3090+1x3070", network="ethernet-100g")
