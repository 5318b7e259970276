"""Recurrent mixers, as a config.json describes them: one reader for each kind."""

from collections.abc import Callable, Mapping

from tpdeploy.profiles.models.config.families.family import Family
from tpdeploy.profiles.models.config.keys import ConfigKeys
from tpdeploy.profiles.models.config.layer_kinds import LayerKinds
from tpdeploy.profiles.models.shape import LinearAttention
from tpdeploy.profiles.record import Dtype

STATE_DTYPES = {"float32": Dtype.FP32, "bfloat16": Dtype.BF16, "float16": Dtype.FP16}


def linear_from_config(
    keys: ConfigKeys, family: Family, kinds: LayerKinds
) -> LinearAttention | None:
    """The recurrent mixer of the layers that have one."""
    layers = kinds.mixing("linear")
    if family.linear == "none" or not layers:
        return None
    return READERS[family.linear](keys, layers)


def _delta(keys: ConfigKeys, layers: int) -> LinearAttention:
    return LinearAttention(
        kind="delta",
        key_heads=keys.whole("linear_num_key_heads"),
        key_size=keys.whole("linear_key_head_dim"),
        value_heads=keys.whole("linear_num_value_heads"),
        value_size=keys.whole("linear_value_head_dim"),
        convolution=keys.whole("linear_conv_kernel_dim", least=2),
        state_dtype=_state_dtype(keys, "mamba_ssm_dtype"),
        layers=layers,
    )


def _mamba2(keys: ConfigKeys, layers: int) -> LinearAttention:
    """Nemotron-H names the state's type; vLLM takes the model's where none is named."""
    named = "mamba_num_heads" not in keys.renamed
    return LinearAttention(
        kind="mamba2",
        key_heads=keys.whole("n_groups"),
        key_size=keys.whole("ssm_state_size"),
        value_heads=keys.whole("mamba_num_heads"),
        value_size=_mamba_head(keys),
        convolution=keys.whole("conv_kernel", least=2),
        convolution_bias=keys.flag("use_conv_bias"),
        output_norm=keys.flag("mamba_rms_norm", default=True),
        state_dtype=_state_dtype(keys, "mamba_ssm_cache_dtype") if named else None,
        layers=layers,
    )


def _mamba_head(keys: ConfigKeys) -> int:
    """Values of one head; `auto`, or nothing, is an equal share of the widened hidden size."""
    if keys.value("mamba_head_dim") not in (None, "auto"):
        return keys.whole("mamba_head_dim")
    wide = keys.whole("hidden_size") * keys.whole("mamba_expand", default=2)
    wide, heads = keys.whole("mamba_d_ssm", default=wide), keys.whole("mamba_num_heads")
    if wide % heads:
        raise keys.refused("mamba_num_heads", f"need a divisor of {wide}")
    return wide // heads


def _mamba(keys: ConfigKeys, layers: int) -> LinearAttention:
    """Each of the widened hidden state's values has a state of its own; Jamba norms B and C."""
    hidden = keys.whole("hidden_size")
    wide, alone = hidden * keys.whole("mamba_expand", default=2), keys.renamed.get("mamba_d_ssm")
    rank = keys.value("mamba_dt_rank")
    return LinearAttention(
        kind="mamba",
        key_heads=1,
        key_size=keys.whole("mamba_d_state", default=16),
        value_heads=wide if alone is None else keys.whole("mamba_d_ssm", default=wide),
        value_size=1,
        output_norm=alone is None,
        rank=-(-hidden // 16) if rank in (None, "auto") else keys.whole("mamba_dt_rank"),
        convolution=keys.whole("mamba_d_conv", default=4, least=2),
        convolution_bias=keys.flag("mamba_conv_bias", default=True),
        state_dtype=None,
        layers=layers,
    )


def _kda(keys: ConfigKeys, layers: int) -> LinearAttention:
    """Kimi delta attention; Kimi's configs keep its keys in a part of their own.

    Ling's heads are as many, and have the size, that its config states of all attention.
    """
    own = keys.part("linear_attn_config") or keys
    heads = own.whole("num_heads", "linear_num_heads", "num_attention_heads")
    size = own.whole("linear_head_dim", "head_dim")
    return LinearAttention(
        kind="kda",
        key_heads=heads,
        key_size=size,
        value_heads=heads,
        value_size=size,
        rank=size,
        full_gate=own.flag("use_full_rank_gate"),
        full_decay=own.flag("no_kda_lora"),
        convolution=own.whole("short_conv_kernel_size", "linear_conv_kernel_dim", least=2),
        layers=layers,
    )


def _convolution(keys: ConfigKeys, layers: int) -> LinearAttention:
    """LFM2's gated short convolution, whose state is the last tokens it saw."""
    return LinearAttention(
        kind="convolution",
        key_heads=1,
        key_size=1,
        value_heads=keys.whole("hidden_size"),
        value_size=1,
        convolution=keys.whole("conv_L_cache", default=3, least=2),
        convolution_bias=keys.flag("conv_bias"),
        state_dtype=None,
        layers=layers,
    )


def _state_dtype(keys: ConfigKeys, name: str) -> Dtype:
    dtype = keys.text(name, default="float32")
    if dtype not in STATE_DTYPES:
        raise keys.refused(name, f"known here: {', '.join(STATE_DTYPES)}")
    return STATE_DTYPES[dtype]


READERS: Mapping[str, Callable[[ConfigKeys, int], LinearAttention]] = {
    "delta": _delta,
    "mamba2": _mamba2,
    "mamba": _mamba,
    "kda": _kda,
    "convolution": _convolution,
}
