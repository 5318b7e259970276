"""Towers of images that one architecture alone has, or that are no plain layers of attention."""

from collections.abc import Mapping

from tpdeploy.profiles.models.config.encoders.images import (
    BASE,
    VIT,
    Tower,
    idefics,
    patch,
    patches,
    plain_layers,
    side,
)
from tpdeploy.profiles.models.config.encoders.parameters import (
    Parameters,
    attention,
    block,
    column,
    linear,
    linears,
    mlp,
    norm,
    row,
)
from tpdeploy.profiles.models.config.keys import ConfigKeys


def gemma4(keys: ConfigKeys) -> Parameters:
    """Gemma 4: a table of positions for each side, norms of Q and K and behind each block."""
    hidden, size = keys.whole("hidden_size"), keys.whole("head_dim")
    wide = keys.whole("num_attention_heads") * size
    narrow = keys.whole("num_key_value_heads") * size
    layer = column(wide + 2 * narrow, hidden, bias=False) + row(hidden, wide, bias=False)
    layer += norm(size, bias=False) * 2 + norm(hidden, bias=False) * 4
    layer += mlp(hidden, keys.whole("intermediate_size"), gated=True, bias=False)
    places = Parameters(whole=2 * keys.whole("position_embedding_size") * hidden)
    return patch(keys, bias=False) + places + layer * keys.whole("num_hidden_layers")


def kimi(keys: ConfigKeys) -> Parameters:
    """MoonViT of Kimi-K2.5; its checkpoints say `vt_` before a key."""
    hidden = keys.whole("vt_hidden_size", "hidden_size")
    layer = block(hidden, keys.whole("vt_intermediate_size", "intermediate_size"))
    layers = layer * keys.whole("vt_num_hidden_layers", "num_hidden_layers")
    high = keys.whole("init_pos_emb_height", "pos_emb_height")
    places = Parameters(whole=high * keys.whole("init_pos_emb_width", "pos_emb_width") * hidden)
    return linear(hidden, 3 * keys.whole("patch_size") ** 2) + places + layers + norm(hidden)


def kimi_k3(keys: ConfigKeys) -> Parameters:
    """MoonViT of Kimi-K3: RMSNorm, no biases, and heads of Q, K and V of a width of their own."""
    hidden, wide = keys.whole("vt_hidden_size"), keys.whole("qkv_hidden_size")
    layer = column(3 * wide, hidden, bias=False) + row(hidden, wide, bias=False)
    layer += mlp(hidden, keys.whole("vt_intermediate_size"), bias=False)
    layer += norm(hidden, bias=False) * 2
    places = keys.whole("init_pos_emb_height") * keys.whole("init_pos_emb_width") * hidden
    into = linear(hidden, 3 * keys.whole("patch_size") ** 2, bias=False) + Parameters(whole=places)
    return into + layer * keys.whole("vt_num_hidden_layers") + norm(hidden, bias=False)


def minicpm(keys: ConfigKeys) -> Parameters:
    """MiniCPM-V 4.6: SigLIP without its head, and a merger of four neighbours between layers."""
    hidden, wide = keys.whole("hidden_size"), keys.whole("intermediate_size")
    merger = attention(hidden) + norm(hidden) + norm(4 * hidden)
    return idefics(keys) + merger + linears(4 * hidden, 4 * wide, hidden)


def ovis2(keys: ConfigKeys) -> Parameters:
    """Ovis 2: AIMv2, and a head over a vocabulary of what images show."""
    hidden, wide = keys.whole("hidden_size"), keys.whole("intermediate_size")
    layer = attention(hidden, biases=4 if keys.flag("qkv_bias") else 0)
    layer += mlp(hidden, wide, gated=True, bias=keys.flag("mlp_bias"))
    layer += norm(hidden, bias=False) * 2
    shown = keys.whole("vocab_size") - keys.whole("num_visual_indicator_tokens")
    merged = hidden * keys.whole("hidden_stride") ** 2
    places = Parameters(whole=patches(keys) * hidden) + norm(hidden, bias=False) * 2
    head = linear(shown, merged, bias=False) + norm(shown)
    return patch(keys) + places + layer * keys.whole("num_hidden_layers") + head


def gemma3n(keys: ConfigKeys) -> Parameters:
    """Gemma 3n: MobileNetV5, of which config.json gives the name alone."""
    name = keys.text("architecture")
    if name not in MOBILE_NETS:
        raise keys.refused("architecture", f"known here: {', '.join(MOBILE_NETS)}")
    return Parameters(whole=MOBILE_NETS[name])


def minimax(keys: ConfigKeys) -> Parameters:
    """MiniMax-M3: CLIP's layers on patches of several frames, with rotary positions."""
    hidden = keys.whole("hidden_size")
    seen = keys.whole("num_channels", default=3) * keys.whole("temporal_patch_size")
    into = linear(hidden, seen * keys.whole("patch_size") ** 2, bias=False)
    return into + norm(hidden) + plain_layers(keys)


def glm5(keys: ConfigKeys) -> Parameters:
    """GLM-5.3-Flash: norms of Q and K, a gated MLP, and a convolution that merges neighbours."""
    hidden, out = keys.whole("hidden_size"), keys.whole("out_hidden_size")
    has_bias = keys.flag("attention_bias")
    layer = attention(hidden, biases=4 if has_bias else 0)
    layer += norm(hidden // keys.whole("num_heads"), bias=False) * 2
    layer += mlp(hidden, keys.whole("intermediate_size"), gated=True, bias=has_bias)
    layer += norm(hidden, bias=False) * 2
    seen = keys.whole("in_channels", default=3) * keys.whole("temporal_patch_size")
    into = linear(hidden, seen * side(keys, "patch_size") ** 2)
    merger = linear(out, hidden * keys.whole("spatial_merge_size") ** 2)
    merger += linear(out, out, bias=False) + norm(out)
    merger += mlp(out, keys.whole("projection_intermediate_size"), gated=True, bias=False)
    return into + layer * keys.whole("depth") + norm(hidden, bias=False) + merger


def ernie(keys: ConfigKeys) -> Parameters:
    """ERNIE 4.5 VL: rotary positions alone."""
    hidden = keys.whole("hidden_size")
    layer = block(hidden, keys.whole("intermediate_size"))
    channels = keys.whole("in_channels", default=3)
    into = linear(hidden, channels * keys.whole("patch_size") ** 2, bias=False)
    return into + layer * keys.whole("depth") + norm(hidden)


def muse(keys: ConfigKeys) -> Parameters:
    """Muse Glimmer: patches of several frames, and a table of positions."""
    hidden = keys.whole("hidden_size")
    seen = 3 * keys.whole("patch_temporal") * keys.whole("patch_size") ** 2
    places = Parameters(whole=keys.whole("max_position_embeddings") * hidden)
    return linear(hidden, seen, bias=False) + places + norm(hidden) * 2 + plain_layers(keys)


def sam(keys: ConfigKeys) -> Parameters:
    """SAM's ViT: most layers attend within windows, and each knows how far apart patches are."""
    hidden, layers = keys.whole("hidden_size"), keys.whole("num_hidden_layers")
    head = hidden // keys.whole("num_attention_heads")
    across = side(keys, "image_size") // side(keys, "patch_size")
    globals_ = len(keys.numbers("global_attn_indexes"))
    window = keys.whole("window_size")
    apart = globals_ * (2 * across - 1) + (layers - globals_) * (2 * window - 1)
    layer = linear(3 * hidden, hidden) + linear(hidden, hidden) + norm(hidden) * 2
    layer += linears(hidden, keys.whole("mlp_dim"), hidden)
    places = Parameters(whole=across**2 * hidden + 2 * apart * head)
    return patch(keys) + places + layer * layers + sam_neck(keys)


def sam_neck(keys: ConfigKeys) -> Parameters:
    """Two convolutions that narrow what SAM gives, with a norm behind each."""
    narrow = keys.whole("output_channels")
    into = linear(narrow, keys.whole("hidden_size"), bias=False)
    return into + linear(narrow, 9 * narrow, bias=False) + norm(narrow) * 2


# Parameters that timm 1.0 counts.
MOBILE_NETS = {"mobilenetv5_300m_enc": 294_126_912}

_SAM = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "image_size": 1024,
    "patch_size": 16,
    "window_size": 14,
    "global_attn_indexes": [2, 5, 8, 11],
    "mlp_dim": 3072,
    "output_channels": 256,
}

SPECIAL_TOWERS: Mapping[str, tuple[Tower, Mapping[str, object]]] = {
    "gemma4_vision": (
        gemma4,
        {
            **BASE,
            "num_hidden_layers": 16,
            "num_attention_heads": 12,
            "num_key_value_heads": 12,
            "head_dim": 64,
            "patch_size": 16,
            "position_embedding_size": 10240,
        },
    ),
    "kimi_k25_vision": (
        kimi,
        {
            "hidden_size": 1152,
            "intermediate_size": 4304,
            "num_hidden_layers": 27,
            "patch_size": 14,
            "pos_emb_height": 64,
            "pos_emb_width": 64,
        },
    ),
    "kimi_k3_vision": (
        kimi_k3,
        {
            "vt_hidden_size": 1024,
            "qkv_hidden_size": 1536,
            "vt_intermediate_size": 4096,
            "vt_num_hidden_layers": 27,
            "patch_size": 14,
            "init_pos_emb_height": 64,
            "init_pos_emb_width": 64,
        },
    ),
    "minicpmv4_6_vision": (
        minicpm,
        {**BASE, **VIT},
    ),
    "ovis2_vision": (
        ovis2,
        {
            "hidden_size": 1024,
            "intermediate_size": 2816,
            "num_hidden_layers": 24,
            "image_size": 224,
            "patch_size": 14,
            "hidden_stride": 1,
            "vocab_size": 16384,
            "num_visual_indicator_tokens": 5,
        },
    ),
    "muse_glimmer_vision": (
        muse,
        {
            "hidden_size": 1536,
            "intermediate_size": 8960,
            "num_hidden_layers": 50,
            "patch_size": 14,
            "patch_temporal": 2,
            "max_position_embeddings": 1024,
        },
    ),
    "ernie4_5_vl_moe_vision": (
        ernie,
        {"depth": 32, "hidden_size": 1280, "intermediate_size": 5120, "patch_size": 14},
    ),
    "gemma3n_vision": (
        gemma3n,
        {"architecture": "mobilenetv5_300m_enc", "hidden_size": 2048, "vocab_size": 128},
    ),
    "minimax_m3_vl_vision": (
        minimax,
        {
            "hidden_size": 1280,
            "intermediate_size": 5120,
            "num_hidden_layers": 32,
            "patch_size": 14,
            "temporal_patch_size": 2,
            "spatial_merge_size": 2,
        },
    ),
    "glm5_next_vision": (
        glm5,
        {
            "depth": 24,
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "out_hidden_size": 1536,
            "projection_intermediate_size": 10240,
            "num_heads": 16,
            "attention_bias": True,
            "patch_size": 14,
            "temporal_patch_size": 2,
            "spatial_merge_size": 2,
        },
    ),
    "got_ocr2_vision": (sam, _SAM),
    "sam_vision_model": (sam, _SAM),
}
