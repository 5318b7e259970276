"""The hub as the planner and a launch meet it: asked, refused, forbidden, out of reach."""

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.launcher.downloads import seem_downloaded
from tests.profiles.standin_hub import CONFIG, FILES, MODEL, StandinHub, serving, without_settings
from tpdeploy.errors import InputError
from tpdeploy.profiles.models import hub as hub_module
from tpdeploy.profiles.models.hub import checkpoint_sizes, download_problem
from tpdeploy.profiles.models.library import load_model, model_profiles
from tpdeploy.profiles.record import Dtype

QWEN = next(profile.config for profile in model_profiles() if profile.id == "Qwen/Qwen3-8B")
QUANTIZATION = f"/{MODEL}/resolve/main/hf_quant_config.json"


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Nothing was downloaded, nobody has logged in."""
    without_settings(monkeypatch)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandinHub]:
    with serving() as standin:
        monkeypatch.setenv("HF_ENDPOINT", standin.address)
        yield standin


def test_a_hub_model_is_read_from_its_config(hub: StandinHub) -> None:
    """An id that is not bundled is derived from the hub's config.json."""
    hub.answer(CONFIG, 200, QWEN)
    assert load_model(MODEL).layers == 36


@pytest.mark.parametrize(
    ("status", "kind", "token", "problem", "remedy"),
    [
        (401, "", "", "answered 401: no token was sent", "HF_TOKEN"),
        (401, "GatedRepo", "", "it is gated, and no token was sent", "HF_TOKEN"),
        (403, "GatedRepo", "mine", "it is gated, and the token may not read it", "HF_TOKEN"),
        (401, "RepoNotFound", "mine", "has no such model, or it is private", "HF_ENDPOINT"),
        (404, "", "", "has no such model", "HF_ENDPOINT"),
        (503, "", "", "answered 503", "HF_ENDPOINT"),
    ],
)
@pytest.mark.slow
def test_a_hub_that_refuses_is_told_apart(
    hub: StandinHub,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    kind: str,
    token: str,
    problem: str,
    remedy: str,
) -> None:
    """What it answered, whether a token was sent, and the page where terms are accepted."""
    monkeypatch.setenv("HF_TOKEN", token)
    hub.answer(CONFIG, status, kind=kind)
    told = download_problem(MODEL)
    assert told is not None
    assert problem in told[0]
    assert remedy in told[1]
    assert ("https://huggingface.co/some/model" in told[1]) == (remedy == "HF_TOKEN")
    with pytest.raises(InputError) as caught:
        load_model(MODEL)
    assert problem.split(":", maxsplit=1)[0] in str(caught.value)


def test_a_hub_model_of_modelopt_is_quantized(hub: StandinHub) -> None:
    """The hub's hf_quant_config.json is read where config.json names no quantization."""
    hub.answer(CONFIG, 200, QWEN)
    hub.answer(QUANTIZATION, 200, {"quantization": {"quant_algo": "NVFP4", "group_size": 16}})
    quantization = load_model(MODEL).quantization
    assert quantization is not None
    assert quantization.weights is Dtype.FP4


@pytest.mark.parametrize("variable", ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"])
def test_the_token_is_sent_and_never_shown(
    hub: StandinHub, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """It opens a gated model; without access the message does not repeat it."""
    hub.answer(CONFIG, 403)
    hub.answer(CONFIG, 200, QWEN, token="hf_open")  # noqa: S106 - of the stand-in
    monkeypatch.setenv(variable, "hf_open")
    assert load_model(MODEL).layers == 36
    monkeypatch.setenv(variable, "hf_wrong")
    with pytest.raises(InputError) as caught:
        load_model(MODEL)
    assert "hf_wrong" not in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HF_HUB_OFFLINE", "1"),
        ("HF_HUB_OFFLINE", "true"),
        ("HF_HUB_OFFLINE", "ON"),
        ("TRANSFORMERS_OFFLINE", "1"),
    ],
)
def test_offline_mode_makes_no_request(
    hub: StandinHub, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    """It is obeyed even when the hub would answer."""
    hub.answer(CONFIG, 200, QWEN)
    hub.has({"model.safetensors": 7})
    monkeypatch.setenv(variable, value)
    with pytest.raises(InputError, match=f"{variable} is set: give a local folder"):
        load_model(MODEL)
    told = download_problem(MODEL)
    assert told is not None
    assert told[0] == f"{variable} forbids to ask the hub"
    assert checkpoint_sizes(MODEL) == {}


@pytest.mark.parametrize("offline", [True, False])
def test_what_was_downloaded_is_planned_without_the_hub(
    monkeypatch: pytest.MonkeyPatch, home: Path, *, offline: bool
) -> None:
    """The config in the cache serves, with the hub forbidden or out of reach."""
    (seem_downloaded(home, MODEL) / "config.json").write_text(json.dumps(QWEN))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HUB_OFFLINE", str(int(offline)))
    assert load_model(MODEL).layers == 36


def test_a_model_that_can_be_downloaded_has_no_problem(hub: StandinHub) -> None:
    """The hub gives out its config."""
    hub.answer(CONFIG, 200, {})
    assert download_problem(MODEL) is None


def test_the_files_that_an_engine_downloads_are_counted(hub: StandinHub) -> None:
    """Weights once, not in their other formats; nothing where the hub does not tell."""
    assert checkpoint_sizes(MODEL) == {}
    whole = {"config.json": 3, "model.safetensors": 700}
    hub.has({**whole, "pytorch_model.bin": 700, "original/consolidated.00.pth": 700})
    assert checkpoint_sizes(MODEL) == whole
    hub.has({"config.json": 3, "pytorch_model.bin": 700})
    assert checkpoint_sizes(MODEL) == {"config.json": 3, "pytorch_model.bin": 700}
    for odd in ("[]", "{", '{"siblings": 3}', '{"siblings": [3, {"size": "x"}]}'):
        hub.answer(FILES, 200, odd)
        assert checkpoint_sizes(MODEL) == {}


def test_the_token_of_a_login_is_sent(
    hub: StandinHub, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    """Where the hub's own client keeps it, unless HF_TOKEN says otherwise."""
    (home / "token").write_text("kept\n")
    hub.answer(CONFIG, 401)
    hub.answer(CONFIG, 200, {}, token="kept")  # noqa: S106 - of the stand-in
    assert download_problem(MODEL) is None
    monkeypatch.setenv("HF_TOKEN", "other")
    assert download_problem(MODEL) is not None


def test_a_hub_out_of_reach_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing listening: the answer names a local folder as the way on."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(InputError, match=r"out of reach .*local folder"):
        load_model(MODEL)


def test_a_hub_whose_name_cannot_be_looked_up_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A look-up that never ends does not hold the command."""
    never = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: never.wait())
    monkeypatch.setattr(hub_module, "CONNECT_TIMEOUT_S", 0.05)
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.invalid")
    with pytest.raises(InputError, match=r"out of reach \(ConnectTimeout\)"):
        load_model(MODEL)
    never.set()
