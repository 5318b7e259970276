"""The shapes agree with transformers: same parameters, same defaults for what configs omit."""

import json
import subprocess

import pytest

from tpdeploy.launcher.small_model import engine_python
from tpdeploy.planner.sharding import parameter_count
from tpdeploy.profiles.config_json import shape_from_config
from tpdeploy.profiles.families import FAMILIES
from tpdeploy.profiles.models import model_profiles

pytestmark = pytest.mark.engine

# Model types that transformers reads with another one's classes.
ALSO_KNOWN_AS = {"kimi_k2": "deepseek_v3"}

COUNT_PARAMETERS = """
import json, sys, torch
from transformers import AutoConfig, AutoModelForCausalLM
counts = {}
for name, config in json.load(sys.stdin).items():
    config = AutoConfig.for_model(config.pop("model_type"), **config)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    model.tie_weights()
    counts[name] = sum(p.numel() for p in model.parameters())
print(json.dumps(counts))
"""

READ_DEFAULTS = """
import json, sys
from transformers import AutoConfig
answers = {}
for kind, keys in json.load(sys.stdin).items():
    config = AutoConfig.for_model(kind)
    answers[kind] = {key: getattr(config, key, None) for key in keys}
print(json.dumps(answers))
"""


def ask_transformers(script: str, question: object) -> dict[str, object]:
    """What `script` prints in the engine's environment, given `question` as JSON."""
    done = subprocess.run(
        [str(engine_python()), "-c", script],
        input=json.dumps(question),
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answer = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(answer, dict)
    return answer


def test_parameter_counts_are_those_of_transformers_modules() -> None:
    """Every bundled model, built on the meta device, has exactly the parameters counted here."""
    profiles = model_profiles()
    configs = {}
    for profile in profiles:
        kind = str(profile.config["model_type"])
        config = {**profile.config, "model_type": ALSO_KNOWN_AS.get(kind, kind)}
        config.pop("quantization_config", None)  # logical parameters, not packed ones
        configs[profile.id] = config
    counted = {
        profile.id: parameter_count(shape_from_config(profile.config, id=profile.id))
        for profile in profiles
    }
    assert ask_transformers(COUNT_PARAMETERS, configs) == counted


def test_defaults_are_those_of_transformers_configs() -> None:
    """What is taken for a key that a config leaves out is what transformers takes."""
    # Patterns are spelt out as layer_types once a config is loaded; the key itself is gone.
    spelt_out = {"sliding_window_pattern"}
    ours = {
        kind: {key: value for key, value in family.defaults.items() if key not in spelt_out}
        for kind, family in FAMILIES.items()
        if kind not in ALSO_KNOWN_AS
    }
    ours = {kind: {"tie_word_embeddings": False, **defaults} for kind, defaults in ours.items()}
    theirs = ask_transformers(READ_DEFAULTS, {kind: list(keys) for kind, keys in ours.items()})
    assert theirs == ours
