"""Backends come through entry points, and a bad one spoils nothing but itself."""

from importlib.metadata import EntryPoint

import pytest

from tpdeploy import plugins
from tpdeploy.backends.registry import BACKENDS, backend_names, load_backend, load_backends
from tpdeploy.backends.vllm import VllmBackend
from tpdeploy.errors import InputError, TpdeployError

VLLM = "tpdeploy.backends.vllm:VllmBackend"


def entries(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    """Entry points of those names; a name ending in `_again` is given to its stem once more."""
    found = [
        EntryPoint(name.removesuffix("_again"), value, BACKENDS.name)
        for name, value in values.items()
    ]
    monkeypatch.setattr(plugins, "_offered", lambda _group, _path: found)


def test_vllm_is_found_as_any_other_backend_is() -> None:
    """The built-in adapter is loaded through the installed package's entry point."""
    assert "vllm" in backend_names()
    assert isinstance(load_backend("vllm"), VllmBackend)


def test_an_unknown_name_offers_the_nearest() -> None:
    """One line, and what would work."""
    with pytest.raises(InputError, match=r"unknown backend 'vlm'; did you mean vllm\?"):
        load_backend("vlm")


def test_a_name_given_twice_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which of two is meant is not guessed; both owners are named."""
    entries(monkeypatch, vllm=VLLM, vllm_again="other.package:Engine")
    with pytest.raises(TpdeployError, match=r"other\.package:Engine.*remove one"):
        load_backend("vllm")
    assert [broken.reason for broken in load_backends()[1]] == ["two packages provide it"]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("no.such.module:Engine", "No module named 'no'"),
        ("tpdeploy.backends.vllm:NoSuchClass", "NoSuchClass"),
        ("builtins:dict", "is not a tpdeploy.backends.base.Backend"),
        ("tpdeploy.backends.base:Backend", "abstract"),
    ],
)
def test_a_broken_backend_is_named_and_the_others_load(
    monkeypatch: pytest.MonkeyPatch, value: str, reason: str
) -> None:
    """Whatever a foreign package does while it loads, it is reported under its name."""
    entries(monkeypatch, theirs=value, vllm=VLLM)
    loaded, broken = load_backends()
    assert [backend.name for backend in loaded] == ["vllm"]
    assert [one.name for one in broken] == ["theirs"]
    assert reason in broken[0].reason
    with pytest.raises(TpdeployError, match="backend theirs cannot be loaded"):
        load_backend("theirs")
