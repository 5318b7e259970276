"""config.json and hf_quant_config.json, whatever is in them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.mutants import as_json, files, mutants
from tests.fuzz.promise import fuzzed, kept
from tests.planner.inputs import ask
from tpdeploy.planner.model.precision import served_shape
from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.search.evaluation import Candidate, evaluate
from tpdeploy.planner.workload import Workload
from tpdeploy.profiles.models.library import load_model, model_profiles
from tpdeploy.profiles.models.shape import ModelShape

pytestmark = pytest.mark.slow

CONFIGS = [profile.config for profile in model_profiles()]
QUANTIZED = {
    "quantization": {
        "quant_algo": "MIXED_PRECISION",
        "kv_cache_quant_algo": "FP8",
        "exclude_modules": ["lm_head"],
        "quantized_layers": {
            "model.layers.0.mlp.down_proj": {"quant_algo": "NVFP4", "group_size": 16},
            "model.layers.1.mlp.down_proj": {"quant_algo": "FP8"},
        },
    }
}
LLAMA = next(config for config in CONFIGS if config["model_type"] == "llama")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("model")


def folder(tmp: Path, config: bytes, quantized: bytes | None = None) -> str:
    (tmp / "config.json").write_bytes(config)
    beside = tmp / "hf_quant_config.json"
    beside.unlink(missing_ok=True)
    if quantized is not None:
        beside.write_bytes(quantized)
    return str(tmp)


def planned(shape: ModelShape) -> object:
    """What a split of the model is predicted to do."""
    asked = ask("llama-8b", "8xH100", workload=Workload(input_tokens=256, concurrency=4))
    served = served_shape(shape, asked.cluster.accelerator, None, None)
    inputs = replace(asked, shape=served, kv_cache_dtype=served.dtype)
    answers = [evaluate(inputs, Parallelism(tensor=tensor)) for tensor in (1, 8)]
    return [answer.prediction for answer in answers if isinstance(answer, Candidate)]


@fuzzed(250)
@given(st.sampled_from(CONFIGS).flatmap(mutants))
def test_config_json(place: Path, config: object) -> None:
    """Each is a model whose plan is finite, or refused."""
    name = folder(place, as_json(config).encode())
    shape = kept(lambda: load_model(name))
    if shape is not None:
        kept(lambda: planned(shape))


@fuzzed(60)
@given(mutants(QUANTIZED))
def test_hf_quant_config_json(place: Path, quantized: object) -> None:
    """What stands beside config.json is checked as what stands in it."""
    name = folder(place, json.dumps(LLAMA).encode(), as_json(quantized).encode())
    shape = kept(lambda: load_model(name))
    if shape is not None:
        kept(lambda: planned(shape))


@fuzzed(60)
@given(files(json.dumps(LLAMA)))
def test_a_file_that_is_no_config(place: Path, content: bytes) -> None:
    """Broken encodings, cut files, other files."""
    name = folder(place, content)
    kept(lambda: load_model(name))
