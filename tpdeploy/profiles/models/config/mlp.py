"""What stands behind the attention of a layer: a dense MLP, experts, or both."""

from collections import Counter
from math import ceil

from tpdeploy.profiles.models.config.attention import switched
from tpdeploy.profiles.models.config.families.family import Family
from tpdeploy.profiles.models.config.keys import ConfigKeys
from tpdeploy.profiles.models.config.layer_kinds import LayerKinds
from tpdeploy.profiles.models.config.listed import alike
from tpdeploy.profiles.models.shape import DenseMlp, Experts


def mlp_from_config(keys: ConfigKeys, family: Family, kinds: LayerKinds) -> DenseMlp | None:
    """The dense MLP of the layers that have one."""
    if not kinds.dense:
        return None
    usual = kinds.layers - kinds.sparse
    if any(kinds.widths):
        return _by_width(keys, family, kinds)[0]
    return DenseMlp(
        intermediate=_dense_width(keys, family),
        gated=family.gated,
        bias=switched(keys, family.mlp_bias),
        activation=family.activation_parameters,
        scaled=family.scaled_mlps,
        layers=None if kinds.dense == usual else kinds.dense,
    )


def narrower_mlps(keys: ConfigKeys, family: Family, kinds: LayerKinds) -> tuple[DenseMlp, ...]:
    """The dense MLPs of other layers, where they differ from the widest."""
    return tuple(_by_width(keys, family, kinds)[1:])


def _by_width(keys: ConfigKeys, family: Family, kinds: LayerKinds) -> list[DenseMlp]:
    """The dense MLPs where widths differ, the widest first."""
    counts = Counter(width for width in kinds.widths if width)
    bias = switched(keys, family.mlp_bias)
    return [
        DenseMlp(intermediate=width, gated=family.gated, bias=bias, layers=layers)
        for width, layers in sorted(counts.items(), reverse=True)
    ]


def experts_from_config(keys: ConfigKeys, family: Family, kinds: LayerKinds) -> Experts | None:
    """The experts of the layers that have them.

    The bias that balances DeepSeek's routing is a buffer, not a parameter; Ernie's is one.
    """
    if not kinds.sparse:
        return None
    experts = _in_line(keys, family, kinds) if _is_mixtral(family) else _apart(keys, family, kinds)
    if experts.per_token > experts.count:
        raise keys.refused("num_experts_per_tok", f"there are {experts.count} experts")
    return experts


def _dense_width(keys: ConfigKeys, family: Family) -> int:
    """`intermediate_size` is the experts' in Llama 4 and MiniMax-M3; GPT's may be left out."""
    if family.experts == "llama4":
        return keys.whole("intermediate_size_mlp")
    if family.experts == "granite":
        return keys.whole("shared_intermediate_size")
    if family.adjusted_mlp:
        return _adjusted_width(keys)
    usual = family.mlp_factor and family.mlp_factor * keys.whole("hidden_size")
    names = ("dense_intermediate_size", "intermediate_size", "ffn_dim")
    return keys.whole(*names, default=usual)


def _adjusted_width(keys: ConfigKeys) -> int:
    """LFM2 takes two thirds of the stated width, times a factor, in whole multiples."""
    stated = keys.whole("block_ff_dim", "intermediate_size")
    if not keys.flag("block_auto_adjust_ff_dim"):
        return stated
    factor = keys.value("block_ffn_dim_multiplier")
    if factor is not None and (isinstance(factor, bool) or not isinstance(factor, int | float)):
        raise keys.refused("block_ffn_dim_multiplier", "need a number")
    narrow, multiple = int(2 * stated / 3), keys.whole("block_multiple_of")
    narrow = narrow if factor is None else int(factor * narrow)
    return max(1, ceil(narrow / multiple)) * multiple


def _is_mixtral(family: Family) -> bool:
    return family.experts in {"mixtral", "gpt-oss", "llama4", "granite", "hunyuan"}


def _in_line(keys: ConfigKeys, family: Family, kinds: LayerKinds) -> Experts:
    """Experts as wide as `intermediate_size`, from Mixtral to Llama 4.

    In Llama 4 and Hunyuan the shared one is as wide.
    """
    width = keys.whole("intermediate_size")
    has_bias = family.experts == "gpt-oss"
    stated = keys.whole("shared_intermediate_size", default=0, least=0)  # Granite
    return Experts(
        count=alike(keys, "num_local_experts"),
        per_token=alike(keys, "num_experts_per_tok"),
        intermediate=width,
        bias=has_bias,
        router_bias=has_bias,
        shared_intermediate=width if family.experts in {"llama4", "hunyuan"} else stated,
        layers=kinds.sparse,
    )


def _apart(keys: ConfigKeys, family: Family, kinds: LayerKinds) -> Experts:
    """Experts with a width of their own."""
    name = "num_experts" if family.experts == "qwen" else "n_routed_experts"
    return Experts(
        count=keys.whole(name, "num_local_experts", "num_experts"),
        per_token=keys.whole("num_experts_per_tok"),
        intermediate=_expert_width(keys),
        gated=family.gated_experts,
        latent=keys.optional("moe_latent_size"),
        latent_norm=keys.flag("latent_moe_use_norm"),
        weightless=keys.whole("zero_expert_num", default=0, least=0),
        router_scales=family.experts == "gemma4",
        router_bias=family.router_bias,
        shared_intermediate=_shared_width(keys, family),
        shared_gate=family.shared_gate,
        routed_shared=keys.whole("n_shared_experts", least=0) if family.scaled_mlps else 0,
        scaled=family.scaled_mlps,
        output_norm=family.experts_norm,
        layers=kinds.sparse,
    )


def _expert_width(keys: ConfigKeys) -> int:
    """Of the experts for text; ERNIE 4.5 VL lists those for images behind them."""
    listed = keys.value("moe_intermediate_size")
    if isinstance(listed, list):
        widths = keys.numbers("moe_intermediate_size")
        if not widths or min(widths) < 1:
            raise keys.refused("moe_intermediate_size", "need numbers of at least 1")
        return widths[0]
    return keys.whole("moe_intermediate_size", "intermediate_size")


def _shared_width(keys: ConfigKeys, family: Family) -> int:
    """The shared experts' widths in sum."""
    if family.experts == "qwen":
        return keys.whole("shared_expert_intermediate_size") if family.shared_gate else 0
    names = (
        "moe_shared_expert_intermediate_size",
        "shared_intermediate_size",
        "shared_expert_intermediate_size",
        "share_expert_dim",
    )
    width = keys.whole(*names, default=_expert_width(keys))
    return width * keys.whole("n_shared_experts", default=0, least=0)
