"""Models are found by alias, folder or hub id, and their shapes are exact."""

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tpdeploy.errors import InputError
from tpdeploy.planner.sharding import parameter_count
from tpdeploy.profiles.config_json import shape_from_config
from tpdeploy.profiles.model import ModelProfile
from tpdeploy.profiles.models import load_model, model_profiles

PROFILES = model_profiles()


def test_at_least_25_models_are_bundled() -> None:
    """The models people serve are there, over at least 12 architectures."""
    assert len(PROFILES) >= 25
    assert len({profile.config["model_type"] for profile in PROFILES}) >= 12


@pytest.mark.parametrize("profile", PROFILES, ids=lambda p: p.id)
def test_the_shape_has_exactly_the_published_parameters(profile: ModelProfile) -> None:
    """The tensors listed for a model sum to its published parameter count."""
    shape = shape_from_config(profile.config, id=profile.id)
    assert parameter_count(shape) == profile.parameters


def test_no_name_means_two_models() -> None:
    """Ids and aliases are unique."""
    names = [name.lower() for p in PROFILES for name in (p.id, *p.aliases)]
    assert len(names) == len(set(names))


def test_aliases_do_not_care_about_case() -> None:
    """Llama-70B is llama-70b."""
    assert load_model("Llama-70B").id == "meta-llama/Llama-3.3-70B-Instruct"


def test_an_unknown_name_offers_the_nearest() -> None:
    """A typing error is answered with what was probably meant."""
    with pytest.raises(InputError, match=r"unknown model 'lama-70b'; did you mean llama-70b"):
        load_model("lama-70b")


def test_a_truncated_config_names_the_file_and_the_place(tmp_path: Path) -> None:
    """A config.json cut short is one line with the file and the position."""
    (tmp_path / "config.json").write_text('{"model_type": "llama", "hidden')
    with pytest.raises(InputError, match=r"config\.json is not valid JSON: .*line 1 column"):
        load_model(str(tmp_path))


def test_a_folder_without_config_is_refused(tmp_path: Path) -> None:
    """The file that is missing is named."""
    with pytest.raises(InputError, match=r"cannot read .*config\.json: No such file"):
        load_model(str(tmp_path))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, tuple[int, str]]]:
    """A hub on loopback that answers what the test puts into the dictionary."""
    answers: dict[str, tuple[int, str]] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answers.get(self.path, (404, ""))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    yield answers
    server.shutdown()


def test_a_hub_model_is_read_from_its_config(hub: dict[str, tuple[int, str]]) -> None:
    """An id that is not bundled is derived from the hub's config.json."""
    config = next(p.config for p in PROFILES if p.id == "Qwen/Qwen3-8B")
    hub["/some/model/resolve/main/config.json"] = (200, json.dumps(config))
    assert load_model("some/model").layers == 36


@pytest.mark.parametrize(
    ("status", "words"), [(401, "HF_TOKEN"), (404, "no such model"), (500, "answered 500")]
)
def test_a_hub_that_refuses_is_told_apart(
    hub: dict[str, tuple[int, str]], status: int, words: str
) -> None:
    """No access, no such model and a broken hub are three different messages."""
    hub["/some/model/resolve/main/config.json"] = (status, "")
    with pytest.raises(InputError, match=words):
        load_model("some/model")


def test_a_hub_out_of_reach_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing listening: the answer names a local folder as the way on."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with pytest.raises(InputError, match=r"out of reach .*local folder"):
        load_model("some/model")
