"""Models are found by alias, folder or hub id, and their shapes are exact."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.profiles.test_config_json import LLAMA
from tpdeploy.errors import InputError
from tpdeploy.planner.model.sharding import parameter_count
from tpdeploy.profiles.models.config.parser import shape_from_config
from tpdeploy.profiles.models.library import load_model, model_profiles
from tpdeploy.profiles.models.shape import ModelProfile
from tpdeploy.profiles.record import Dtype

PROFILES = model_profiles()


def test_the_models_people_serve_are_bundled() -> None:
    """At least 120 of them, over at least 30 architectures."""
    assert len(PROFILES) >= 120
    kinds = {part(profile.config).get("model_type") for profile in PROFILES}
    assert len(kinds) >= 30


def part(config: Mapping[str, object]) -> Mapping[str, object]:
    """The text model's part of a multimodal config."""
    inner = config.get("text_config")
    return inner if isinstance(inner, Mapping) else config


@pytest.mark.parametrize(
    "name",
    [
        "MiniMaxAI/MiniMax-M2.5",
        "Qwen/Qwen3-235B-A22B-FP8",
        "Qwen/Qwen3.5-397B-A17B",
        "deepseek-ai/DeepSeek-V3.2",
        "meta-llama/Llama-3.1-70B",
        "moonshotai/Kimi-K2.5",
        "nvidia/DeepSeek-R1-NVFP4",
        "nvidia/Llama-3.3-70B-Instruct-FP4",
        "zai-org/GLM-4.6",
        "zhipuai/GLM-5",
        "meta-llama/Meta-Llama-3.1-405B",
        "meta-llama/Llama-2-70b-hf",
        "mistralai/Mixtral-8x7B-v0.1",
        "Qwen/Qwen2.5-72B",
        "Qwen/Qwen3-32B-FP8-Static-PerTensor",
        "nvidia/DeepSeek-R1-0528-FP4",
        "nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-FP8",
        "MiniMaxAI/MiniMax-M2",
    ],
)
def test_names_of_public_benchmarks_are_known(name: str) -> None:
    """Ids as others publish measurements under them, old owners and old names too."""
    assert load_model(name).layers > 1


@pytest.mark.parametrize("profile", PROFILES, ids=lambda p: p.id)
def test_the_shape_has_exactly_the_published_parameters(profile: ModelProfile) -> None:
    """The tensors listed for a model sum to its published parameter count."""
    shape = shape_from_config(profile.config, id=profile.id)
    assert parameter_count(shape) == profile.parameters


def test_no_name_means_two_models() -> None:
    """Ids and aliases are unique."""
    names = [name.lower() for p in PROFILES for name in (p.id, *p.aliases, *p.same_config)]
    assert len(names) == len(set(names))


def test_another_checkpoint_of_the_same_config_keeps_its_id() -> None:
    """The engine is given the weights that were asked for, not those of the record's id."""
    asked = load_model("deepseek-ai/deepseek-r1-0528")
    assert asked.id == "deepseek-ai/DeepSeek-R1-0528"
    assert asked == load_model("deepseek-r1").model_copy(update={"id": asked.id})


def test_aliases_do_not_care_about_case() -> None:
    """Llama-70B is llama-70b."""
    assert load_model("Llama-70B").id == "meta-llama/Llama-3.3-70B-Instruct"


@pytest.mark.parametrize(
    ("alias", "id"),
    [
        ("llama-8b", "meta-llama/Llama-3.1-8B-Instruct"),
        ("smollm2", "HuggingFaceTB/SmolLM2-135M-Instruct"),
        ("deepseek-r1", "deepseek-ai/DeepSeek-R1"),
        ("openai/GPT-OSS-120b", "openai/gpt-oss-120b"),
    ],
)
def test_aliases_and_ids_are_known(alias: str, id: str) -> None:
    """Short names and hub ids find the bundled model."""
    assert load_model(alias).id == id


@pytest.mark.parametrize("profile", PROFILES, ids=lambda p: p.id)
def test_an_fp8_or_fp4_checkpoint_is_known_as_one(profile: ModelProfile) -> None:
    """A name that ends in a number format goes with a quantization of that format."""
    quantization = shape_from_config(profile.config, id=profile.id).quantization
    for suffix, dtype in (("-FP8", Dtype.FP8), ("-NVFP4", Dtype.FP4)):
        if profile.id.endswith(suffix):
            assert quantization is not None
            others = {other.weights for other in quantization.others}
            assert dtype in {quantization.weights, *others}


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


@pytest.mark.parametrize("name", ["", "a/b/c", "org/na me", "org/name?x=1"])
def test_a_name_that_is_nothing_is_refused(name: str) -> None:
    """Neither folder nor id: no request is made of it."""
    with pytest.raises(InputError, match="unknown model"):
        load_model(name)


def test_a_local_folder_gives_its_path(tmp_path: Path) -> None:
    """The folder's name is the id, its full path is kept for the engine."""
    write_config(tmp_path, "Qwen/Qwen3-8B")
    shape = load_model(str(tmp_path))
    assert (shape.id, shape.path, shape.quantization) == (tmp_path.name, str(tmp_path), None)


def test_modelopts_own_file_beside_the_config_is_read(tmp_path: Path) -> None:
    """Checkpoints that state their quantization in hf_quant_config.json are not taken for BF16."""
    write_config(tmp_path, "Qwen/Qwen3-8B")
    content = {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8"}}
    (tmp_path / "hf_quant_config.json").write_text(json.dumps(content))
    quantization = load_model(str(tmp_path)).quantization
    assert quantization is not None
    assert quantization.weights is Dtype.FP8


@pytest.mark.parametrize("content", ["[]", "3", "null"])
def test_a_config_that_is_no_object_is_refused(tmp_path: Path, content: str) -> None:
    """JSON of another kind is named as such."""
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(InputError, match="expected an object"):
        load_model(str(tmp_path))


def write_config(folder: Path, id: str) -> None:
    """Put the config.json of a bundled model into `folder`."""
    config = next(profile.config for profile in PROFILES if profile.id == id)
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("name", "id"),
    [
        ("llama70b", "meta-llama/Llama-3.3-70B-Instruct"),
        ("Llama 70b", "meta-llama/Llama-3.3-70B-Instruct"),
        ("qwen3_32B", "Qwen/Qwen3-32B"),
        ("gemma-3-27b-it", "google/gemma-3-27b-it"),
        ("SmolLM2-135M-Instruct", "HuggingFaceTB/SmolLM2-135M-Instruct"),
        ("https://huggingface.co/Qwen/Qwen3-8B", "Qwen/Qwen3-8B"),
        ("https://huggingface.co/Qwen/Qwen3-8B/tree/main?x=1", "Qwen/Qwen3-8B"),
        ("hf.co/Qwen/Qwen3-8B", "Qwen/Qwen3-8B"),
    ],
)
def test_a_bundled_model_is_found_however_it_is_spelled(name: str, id: str) -> None:
    """By its address, without its owner, with other or no dashes."""
    assert load_model(name).id == id


def test_every_bundled_name_means_its_own_model() -> None:
    """Other spellings take no name from anyone."""
    for profile in model_profiles():
        assert load_model(profile.id).id == profile.id


def test_a_model_of_another_owner_is_another_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its config is asked for, not taken from the bundled one of the same name."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match="me/Qwen3-8B is not bundled"):
        load_model("me/Qwen3-8B")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("./model.gguf", "GGUF is not a format that is planned here; plan the checkpoint it was"),
        ("me/Qwen3-8B-GGUF", "plan Qwen/Qwen3-8B, or an AWQ or FP8 checkpoint of it"),
        ("Qwen3-8B-Q4_K_M.gguf", "plan Qwen/Qwen3-8B, or an AWQ"),
        ("qwen3", "did you mean qwen3-4b, qwen3-8b,"),
    ],
)
def test_what_cannot_be_planned_is_refused_with_what_can(name: str, words: str) -> None:
    """GGUF files, and families of which the members are named."""
    with pytest.raises(InputError, match=re.escape(words)):
        load_model(name)


def test_the_file_in_a_folder_stands_for_the_folder(tmp_path: Path) -> None:
    """As a shell completes it."""
    (tmp_path / "config.json").write_text(json.dumps(LLAMA), encoding="utf-8")
    assert load_model(str(tmp_path / "config.json")) == load_model(str(tmp_path))
