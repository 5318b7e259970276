"""MLP kinds: what stands behind the mixer in each layer of a model, and how wide it is."""

from collections.abc import Iterable

from tpdeploy.profiles.models.config.families.family import Family
from tpdeploy.profiles.models.config.keys import ConfigKeys
from tpdeploy.profiles.models.config.listed import listed_kinds, need_each
from tpdeploy.profiles.models.shape import Mlp


def mlps_of(keys: ConfigKeys, family: Family, layers: int) -> Iterable[Mlp]:
    """Whether a dense MLP, experts or both are in each layer, first layer first."""
    if family.experts == "none" or _has_no_experts(keys, family):
        return ["dense"] * layers
    if family.experts == "gemma4":
        return ["both" if keys.flag("enable_moe_block") else "dense"] * layers
    if kinds := listed_kinds(keys, "mlp_layer_types", layers):
        return ["dense" if kind == "dense" else "sparse" for kind in kinds]
    if isinstance(keys.config.get("moe_layer_freq"), list):  # MiMo-V2, MiniMax-M3: 1 has experts
        pattern = keys.numbers("moe_layer_freq")
        need_each(keys, "moe_layer_freq", len(pattern), layers)
        return ["sparse" if has_experts else "dense" for has_experts in pattern]
    if family.experts == "listed":
        return _listed_mlps(keys, layers)
    return _sparse_by_rule(keys, family, layers)


def _has_no_experts(keys: ConfigKeys, family: Family) -> bool:
    """Some of Granite 4 and Jamba have the same `model_type` without experts."""
    match family.experts:
        case "granite":
            return not keys.whole("num_local_experts", default=0, least=0)
        case "jamba":
            return keys.whole("num_experts", default=16) == 1
        case _:
            return False


def _sparse_by_rule(keys: ConfigKeys, family: Family, layers: int) -> Iterable[Mlp]:
    """Which layers have experts where the config does not list them."""
    match family.experts:
        case "qwen":
            step, dense = (
                keys.whole("decoder_sparse_step", default=1),
                keys.numbers("mlp_only_layers"),
            )
            mlps: list[Mlp] = [
                "dense" if (i + 1) % step or i in dense else "sparse" for i in range(layers)
            ]
            if "sparse" not in mlps:
                raise keys.refused("decoder_sparse_step", "leaves no layer with experts")
            return mlps
        case "llama4":
            step = keys.whole("interleave_moe_layer_step")
            return ["dense" if (i + 1) % step else "sparse" for i in range(layers)]
        case "ernie":
            return _ernie_mlps(keys, layers)
        case "jamba":
            step = keys.whole("expert_layer_period", default=2)
            offset = keys.whole("expert_layer_offset", default=1, least=0)
            return ["sparse" if i % step == offset else "dense" for i in range(layers)]
        case "deepseek":
            dense_first = keys.whole("first_k_dense_replace", default=0, least=0)
            if dense_first >= layers:
                raise keys.refused("first_k_dense_replace", f"need less than the {layers} layers")
            return ["dense" if i < dense_first else "sparse" for i in range(layers)]
        case _:
            return ["sparse"] * layers


def _listed_mlps(keys: ConfigKeys, layers: int) -> Iterable[Mlp]:
    """Step gives the numbers of the layers with experts, as one text; otherwise all but three."""
    stated = keys.text("moe_layers_enum", default="") or ",".join(map(str, range(3, layers)))
    numbers = stated.split(",")
    if not all(number.strip().isdigit() for number in numbers):
        raise keys.refused("moe_layers_enum", "need whole numbers, separated by commas")
    sparse = {int(number) for number in numbers}
    return ["sparse" if i in sparse else "dense" for i in range(layers)]


def _ernie_mlps(keys: ConfigKeys, layers: int) -> Iterable[Mlp]:
    """Every `moe_layer_interval`-th layer between two."""
    step = keys.whole("moe_layer_interval", default=1)
    start = keys.whole("moe_layer_start_index", default=1, least=0)
    end = keys.whole("moe_layer_end_index", default=-1, least=-1)
    last = layers - 1 if end < 0 else end
    return [
        "sparse" if (i + 1) % step == 0 and start <= i <= last else "dense" for i in range(layers)
    ]


def widths_of(keys: ConfigKeys, layers: int) -> tuple[int, ...]:
    """Of the dense MLPs, where they differ: Gemma 3n lists them, Gemma 4 doubles the last ones."""
    name = "intermediate_size"
    if isinstance(keys.value(name), list):
        widths = keys.numbers(name)
        need_each(keys, name, len(widths), layers)
        if min(widths) < 1:
            raise keys.refused(name, "need numbers of at least 1")
        return tuple(widths)
    if not keys.flag("use_double_wide_mlp"):
        return ()
    last = keys.whole("num_kv_shared_layers", default=0, least=0)
    usual = keys.whole(name)
    return tuple(usual * (2 if i >= layers - last else 1) for i in range(layers))
