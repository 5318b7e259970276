"""Inputs of each layer beside the hidden state, as a config.json describes them."""

from tpdeploy.profiles.models.config.keys import ConfigKeys
from tpdeploy.profiles.models.shape import LayerInputs


def layer_inputs_from_config(keys: ConfigKeys) -> LayerInputs | None:
    """Those of Gemma 3n and 4; some of Gemma 4 have none."""
    size = keys.optional("hidden_size_per_layer_input")
    if size is None:
        return None
    return LayerInputs(
        size=size,
        vocab=keys.whole("vocab_size_per_layer_input", default=262144),
        bypass_rank=keys.optional("laurel_rank"),
        copies=keys.whole("altup_num_inputs", default=1),
    )
