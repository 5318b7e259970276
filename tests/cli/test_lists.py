"""`tpdeploy models`, `gpus`, `interconnects` and `show`: what is known, and from where."""

import json

import pytest

from tests.cli.commands import answered, refused
from tpdeploy.profiles.devices.catalog import accelerators, fabric_names
from tpdeploy.profiles.devices.networks import network_names
from tpdeploy.profiles.models.library import model_profiles


def names(*args: str) -> list[str]:
    """The first word of each row of a list."""
    return names_in(answered(*args, width=80).splitlines())


def names_in(lines: list[str]) -> list[str]:
    """The first word of each row."""
    return [line.split()[0] for line in lines[1:]]


@pytest.mark.slow
def test_every_bundled_model_is_listed() -> None:
    """Each once, with its source and date in the JSON."""
    listed = json.loads(answered("models", "--json"))["models"]
    assert sorted(m["id"] for m in listed) == sorted(p.id for p in model_profiles())
    assert all(m["source"] and m["date"] and m["parameters"] for m in listed)


def test_every_device_is_listed_with_the_error_of_its_class() -> None:
    """Source, date and how far predictions of its class were off."""
    listed = json.loads(answered("gpus", "--json"))["gpus"]
    assert sorted(g["name"] for g in listed) == sorted(a.name for a in accelerators())
    assert all(g["error"]["tpot"] > 0 and g["error"]["source"] for g in listed)


def test_every_interconnect_is_listed() -> None:
    """Fabrics and networks."""
    listed = json.loads(answered("interconnects", "--json"))["interconnects"]
    assert [each["name"] for each in listed] == [*fabric_names(), *network_names()]


@pytest.mark.parametrize(
    ("args", "some", "none"),
    [
        (("models", "qwen3"), "qwen3-8b", "qwen2.5-32b"),
        (("models", "Llama 70b"), "llama-70b", "llama-8b"),
        (("gpus", "hopper"), "H100-SXM-80GB", "A10"),
        (("gpus", "rtx3090"), "RTX-3090", "RTX-4090"),
        (("interconnects", "nvswitch"), "nvswitch-gen4", "pcie-gen4"),
        (("gpus", "p5"), "p5.48xlarge", "H100-SXM-80GB"),
    ],
)
def test_a_word_narrows_the_list(args: tuple[str, ...], some: str, none: str) -> None:
    """However it is spelled."""
    found = names(*args)
    assert some in found
    assert none not in found


@pytest.mark.parametrize("kind", ["models", "gpus", "interconnects"])
@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.slow
def test_a_row_is_a_line(kind: str, width: int) -> None:
    """No name is broken, and nothing is wider than the terminal."""
    lines = answered(kind, width=width).splitlines()
    assert max(map(len, lines)) <= width
    listed = json.loads(answered(kind, "--json"))[kind]
    called = [(each.get("aliases") or [each["id"]])[0] for each in listed if kind == "models"]
    called = called or [each["name"] for each in listed]
    assert sorted(called) == sorted(set(names_in(lines)) & set(called))


@pytest.mark.parametrize("kind", ["models", "gpus", "interconnects"])
def test_a_word_that_is_in_no_name(kind: str) -> None:
    """One line, which names some that are known, or the command that shows them."""
    some = "all that are known: tpdeploy gpus" if kind == "gpus" else "known: "
    assert f"'zzz' in its name; {some}" in refused(kind, "zzz")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("llama-70b", ["meta-llama/Llama-3.3-70B-Instruct", "70.6B in 80 layers", "2026-"]),
        ("mixtral-8x7b", ["8 in a layer"]),
        ("h100", ["H100-SXM-80GB", "four of five within", "source"]),
        ("NVSwitch-gen4", ["8 GPUs directly", "measured on"]),
        ("efa-3200g", ["machines"]),
        ("gb200-nvl72", ["18 machines of 4 x GB200-186GB", "nvl72-gen5", "NVIDIA"]),
        ("p5e.48xlarge", ["8 x H200-SXM-141GB", "p5en.48xlarge", "AWS"]),
        ("dgx-h100", ["8 x H100-SXM-80GB", "infiniband-ndr"]),
    ],
)
@pytest.mark.slow
def test_one_of_them_is_shown_in_full(name: str, words: list[str]) -> None:
    """With its sources."""
    shown = answered("show", name)
    assert [word for word in words if word not in shown] == []
    assert json.loads(answered("show", name, "--json"))["source"]


def test_a_rack_is_listed_with_its_gpus() -> None:
    """`tpdeploy gpus` has rows for machines and racks."""
    assert "72 x GB200-186GB" in answered("gpus", "GB200-NVL72")


def test_nothing_of_that_name() -> None:
    """The nearest names are offered."""
    assert "nothing known is called 'lama-70b'; did you mean llama-70b" in refused(
        "show", "lama-70b"
    )
