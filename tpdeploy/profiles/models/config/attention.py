"""What mixes tokens: attention of every kind, as a config.json describes it."""

from tpdeploy.profiles.models.config.families.family import Family, Switch
from tpdeploy.profiles.models.config.keys import ConfigKeys
from tpdeploy.profiles.models.config.layer_kinds import LayerKinds
from tpdeploy.profiles.models.config.listed import need_each
from tpdeploy.profiles.models.config.mixer_kinds import window
from tpdeploy.profiles.models.config.searched_blocks import kv_heads as searched_kv_heads
from tpdeploy.profiles.models.shape import (
    Attention,
    CompressedAttention,
    Indexer,
    LatentAttention,
    Mixer,
    RelativeBias,
    SharedAttention,
)

SPARSE, DENSE = "compressed_sparse_attention", "heavily_compressed_attention"


def switched(keys: ConfigKeys, switch: Switch) -> bool:
    """Whether something is there: always, never, or as a key says."""
    return keys.flag(switch) if isinstance(switch, str) else switch


def attention_from_config(
    keys: ConfigKeys, family: Family, kinds: LayerKinds
) -> Attention | LatentAttention | CompressedAttention | SharedAttention:
    """The attention of the layers that are not linear, nor windowed with other heads."""
    full = kinds.mixing("full")
    if family.recurrent_alone:
        return Attention(heads=1, kv_heads=1, head_size=1, layers=0)
    if family.attention == "compressed":
        return _compressed(keys, kinds.layers)
    if family.attention == "shared":
        return _shared(keys, full)
    if family.attention == "latent":
        return _latent(keys, family, layers=_stated(full, kinds))
    sliding = 0 if family.other_heads != "none" else kinds.mixing("sliding")
    layers, borrowing = full + sliding, _borrowing(keys, kinds)
    size = _head_size(keys)
    if family.other_heads == "global":
        size = keys.whole("global_head_dim", default=512)
    return _grouped(
        keys,
        family,
        heads=_listed_heads(keys, kinds, "full") if family.other_heads == "listed" else None,
        kv_heads=_kv_heads(keys, family),
        head_size=size,
        layers=_stated(layers, kinds),
        sliding_window=window(keys, family) if sliding else None,
        sliding_layers=sliding,
        borrowing=(borrowing.count("full"), borrowing.count("sliding") if sliding else 0),
        keys_are_values=family.other_heads == "global" and keys.flag("attention_k_eq_v"),
        sinks=family.sinks or keys.flag("add_full_attention_sink_bias"),
    )


def _stated(layers: int, kinds: LayerKinds) -> int | None:
    """None where every layer has it, and no other mixer."""
    alone = kinds.mixers.count("full") + kinds.mixers.count("sliding")
    return None if alone == layers == kinds.layers else layers


def windowed_from_config(keys: ConfigKeys, family: Family, kinds: LayerKinds) -> Attention | None:
    """The attention of sliding layers whose heads differ from those of the full ones."""
    sliding = kinds.mixing("sliding")
    if family.other_heads == "none" or not sliding:
        return None
    swa = "swa_" if family.other_heads == "swa" else ""
    return _grouped(
        keys,
        family,
        heads=_windowed_heads(keys, family, kinds),
        kv_heads=keys.whole(f"{swa}num_key_value_heads", "num_key_value_heads"),
        head_size=keys.whole(f"{swa}head_dim", "head_dim"),
        layers=sliding,
        sliding_window=window(keys, family),
        sliding_layers=sliding,
        borrowing=(0, _borrowing(keys, kinds).count("sliding")),
        sinks=keys.flag("add_swa_attention_sink_bias", default=bool(swa) and not family.relative),
    )


def _windowed_heads(keys: ConfigKeys, family: Family, kinds: LayerKinds) -> int:
    match family.other_heads:
        case "listed":
            return _listed_heads(keys, kinds, "sliding")
        case "sliding":
            own = keys.part("attention_other_setting") or keys
            usual = keys.whole("num_attention_heads")
            return own.whole("num_sliding_attention_heads", "num_attention_heads", default=usual)
        case "swa":
            return keys.whole("swa_num_attention_heads", "num_attention_heads")
        case _:
            return keys.whole("num_attention_heads")


def _listed_heads(keys: ConfigKeys, kinds: LayerKinds, mixer: Mixer) -> int:
    """The heads of the layers with `mixer`, where each layer's are listed.

    Raises:
        InputError: they differ, or are not listed for each layer.
    """
    name = "num_attention_heads_per_layer"
    listed = keys.numbers(name) or [keys.whole("num_attention_heads")] * kinds.layers
    if len(listed) != kinds.layers or min(listed) < 1:
        raise keys.refused(name, f"need heads for each of the {kinds.layers} layers")
    found = {heads for heads, kind in zip(listed, kinds.mixers, strict=True) if kind == mixer}
    if len(found) > 1:
        raise keys.refused(name, f"need the same for all layers with {mixer} attention")
    return found.pop() if found else keys.whole("num_attention_heads")


def indexer_from_config(keys: ConfigKeys, family: Family, kinds: LayerKinds) -> Indexer | None:
    """What picks the tokens that sparse attention looks at."""
    if family.indexer in {"latent", "pooled"}:
        return _on_latent(keys, family, kinds)
    if family.indexer == "compressed":
        return _compressed_indexer(keys, kinds.layers)
    if family.indexer == "averaged":
        return _averaging(keys, kinds)
    sparse = keys.part("sparse_attention_config")
    if family.indexer == "none" or sparse is None:
        return None
    layers = sum(map(bool, sparse.numbers("sparse_attention_freq")))
    return Indexer(
        kind="hidden",
        heads=sparse.whole("sparse_num_index_heads"),
        head_size=sparse.whole("sparse_index_dim"),
        most_tokens=sparse.whole("sparse_topk_blocks") * sparse.whole("sparse_block_size"),
        layers=layers,
        sparse_layers=layers,
    )


def _averaging(keys: ConfigKeys, kinds: LayerKinds) -> Indexer | None:
    """Qwen4-Exp's, which picks blocks of tokens by the average of their keys; optional."""
    heads = keys.optional("indexer_n_heads")
    if heads is None:
        return None
    return Indexer(
        kind="averaged",
        tokens_per_key=keys.whole("indexer_compress_ratio"),
        heads=heads,
        head_size=keys.whole("indexer_head_dim"),
        most_tokens=keys.whole("indexer_budget"),
        layers=kinds.mixing("full"),
        sparse_layers=kinds.mixing("full"),
    )


def _on_latent(keys: ConfigKeys, family: Family, kinds: LayerKinds) -> Indexer:
    """An indexer that reads MLA's latent; some layers use what the one before them picked."""
    rule = [i == 0 or (i - 1) % family.indexed_every == 0 for i in range(kinds.layers)]
    listed = [kind == "full" for kind in keys.words("indexer_types")] or rule
    need_each(keys, "indexer_types", len(listed), kinds.layers)
    return Indexer(
        kind="pooled" if family.indexer == "pooled" else "latent",
        tokens_per_key=keys.whole("index_kpool") if family.indexer == "pooled" else 1,
        heads=keys.whole("index_n_heads"),
        head_size=keys.whole("index_head_dim"),
        most_tokens=keys.whole("index_topk"),
        layers=sum(
            own and mixer == "full" for own, mixer in zip(listed, kinds.mixers, strict=True)
        ),
        sparse_layers=kinds.mixing("full"),
    )


def _latent(keys: ConfigKeys, family: Family, layers: int | None) -> LatentAttention:
    return LatentAttention(
        heads=keys.whole("num_attention_heads"),
        q_lora_rank=keys.optional("q_lora_rank"),
        kv_lora_rank=keys.whole("kv_lora_rank"),
        qk_nope_size=keys.whole("qk_nope_head_dim"),
        qk_rope_size=keys.whole("qk_rope_head_dim", least=0),
        v_size=keys.whole("v_head_dim"),
        output_gate=switched(keys, family.output_gate),
        head_gate=family.head_gate,
        latent_gate=family.latent_gate,
        sinks=family.sinks,
        layers=layers,
    )


def _shared(keys: ConfigKeys, layers: int) -> SharedAttention:
    """Zamba2's heads have twice the size, for its input is twice as wide."""
    heads, wide = keys.whole("num_attention_heads"), 2 * keys.whole("hidden_size")
    if wide % heads or keys.whole("num_key_value_heads", default=heads) != heads:
        raise keys.refused("num_attention_heads", f"need a divisor of {wide}, and as many KV heads")
    return SharedAttention(
        heads=heads,
        head_size=keys.whole("attention_head_dim", default=wide // heads),
        blocks=keys.whole("num_mem_blocks", default=1),
        intermediate=keys.whole("intermediate_size", default=2 * wide),
        adapter_rank=keys.whole("adapter_rank", default=128),
        adapts_attention=keys.flag("use_shared_attention_adapter"),
        layers=layers,
    )


def _compressed(keys: ConfigKeys, layers: int) -> CompressedAttention:
    rates, ratios = _rates(keys), _ratios(keys, layers)
    heads, head_size = keys.whole("num_attention_heads"), keys.whole("head_dim")
    if heads % keys.whole("o_groups"):
        raise keys.refused("o_groups", f"need a divisor of the {heads} heads")
    return CompressedAttention(
        heads=heads,
        head_size=head_size,
        rope_size=keys.whole("qk_rope_head_dim"),
        q_lora_rank=keys.whole("q_lora_rank"),
        output_groups=keys.whole("o_groups"),
        output_rank=keys.whole("o_lora_rank"),
        sliding_window=keys.whole("sliding_window"),
        sparse_ratio=rates[SPARSE],
        sparse_layers=ratios.count(rates[SPARSE]),
        dense_ratio=rates[DENSE],
        dense_layers=ratios.count(rates[DENSE]),
    )


def _compressed_indexer(keys: ConfigKeys, layers: int) -> Indexer | None:
    rate = _rates(keys)[SPARSE]
    sparse = _ratios(keys, layers).count(rate)
    if not sparse:
        return None
    return Indexer(
        kind="compressed",
        tokens_per_key=rate,
        heads=keys.whole("index_n_heads"),
        head_size=keys.whole("index_head_dim"),
        most_tokens=keys.whole("index_topk"),
        layers=sparse,
        sparse_layers=sparse,
    )


def _rates(keys: ConfigKeys) -> dict[str, int]:
    """Tokens that an entry stands for, by kind of layer."""
    stated = keys.part("compress_rates")
    usual = {SPARSE: 4, DENSE: 128}
    return {kind: stated.whole(kind) if stated else rate for kind, rate in usual.items()}


def _ratios(keys: ConfigKeys, layers: int) -> list[int]:
    """Tokens that an entry of each layer stands for; 0: no entries, a window alone.

    A list of ratios goes on with the layers for multi-token prediction.
    """
    rates = {**_rates(keys), "sliding_attention": 0}
    ratios = keys.numbers("compress_ratios")
    if ratios:
        name, found = "compress_ratios", ratios[:layers]
    else:
        name = "layer_types"
        found = [rates.get(kind, -1) for kind in keys.words(name)]
    if len(found) != layers or set(found) - set(rates.values()):
        raise keys.refused(name, f"need one of {list(rates.values())} for each of {layers} layers")
    return found


def _grouped(
    keys: ConfigKeys,
    family: Family,
    *,
    kv_heads: int,
    head_size: int,
    layers: int | None,
    sliding_window: int | None,
    sliding_layers: int,
    sinks: bool,
    heads: int | None = None,
    borrowing: tuple[int, int] = (0, 0),
    keys_are_values: bool = False,
) -> Attention:
    heads = heads or keys.whole("num_attention_heads")
    relative = None
    if family.relative:
        extent = sliding_window or keys.whole("rel_extent")
        relative = RelativeBias(size=keys.whole("d_rel"), extent=extent)
    if heads % kv_heads:
        raise keys.refused("num_key_value_heads", f"need a divisor of the {heads} heads")
    head_gate = family.head_gate and keys.value("gating") in (None, True, "per-head")
    has_norm = family.qk_norm_key is None or keys.flag(family.qk_norm_key)
    return Attention(
        heads=heads,
        kv_heads=kv_heads,
        head_size=head_size,
        v_size=keys.optional("v_head_dim") if family.other_heads == "swa" else None,
        keys_are_values=keys_are_values,
        q_lora_rank=keys.optional("share_q_dim"),
        output_gate=switched(keys, family.output_gate) and not head_gate,
        head_gate=head_gate,
        layers=layers,
        qkv_bias=switched(keys, family.qkv_bias),
        output_bias=switched(keys, family.output_bias),
        qk_norm=family.qk_norm if has_norm else "none",
        sinks=sinks,
        relative=relative,
        sliding_window=sliding_window,
        sliding_layers=sliding_layers,
        borrowing=borrowing[0],
        borrowing_sliding=borrowing[1],
    )


def _borrowing(keys: ConfigKeys, kinds: LayerKinds) -> tuple[Mixer, ...]:
    """The last layers of Gemma 3n and 4, which use the K and V of earlier ones of their kind."""
    layers = keys.whole("num_kv_shared_layers", default=0, least=0)
    if layers >= kinds.layers:
        raise keys.refused("num_kv_shared_layers", f"need less than the {kinds.layers} layers")
    return kinds.mixers[kinds.layers - layers :]


def _kv_heads(keys: ConfigKeys, family: Family) -> int:
    all_heads = keys.whole("num_attention_heads")
    if family.kv_heads == "groups":
        grouped = keys.flag("multi_query_attention")
        return keys.whole("multi_query_group_num") if grouped else all_heads
    if family.searched:
        return searched_kv_heads(keys)
    if family.kv_heads != "stated":
        return _multi_query_heads(keys, family, all_heads)
    heads = keys.whole("num_key_value_heads", default=all_heads)
    if family.other_heads == "global" and keys.flag("attention_k_eq_v"):
        return keys.whole("num_global_key_value_heads", default=heads)
    return heads


def _multi_query_heads(keys: ConfigKeys, family: Family, heads: int) -> int:
    """One for all heads in StarCoder and the first Falcons, stated in the later ones."""
    is_later_falcon = family.kv_heads == "falcon" and keys.flag("new_decoder_architecture")
    if keys.flag("multi_query") and not is_later_falcon:
        return 1
    return keys.whole("num_kv_heads", default=heads)


def _head_size(keys: ConfigKeys) -> int:
    hidden, heads = keys.whole("hidden_size"), keys.whole("num_attention_heads")
    stated = keys.optional("head_dim")
    if stated is None and hidden % heads:
        raise keys.refused("hidden_size", f"need a multiple of the {heads} heads, or a head_dim")
    return stated or hidden // heads
