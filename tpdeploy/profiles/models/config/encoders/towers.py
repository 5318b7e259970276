"""Towers: the encoder itself, by the `model_type` of its part of config.json.

Structure and defaults are those of transformers 5.19; what ranks share is what vLLM 0.32 shares
with --mm-encoder-tp-mode weights, its default. Each function counts the tower that `keys` describe.
"""

from collections.abc import Mapping

from tpdeploy.profiles.models.config.encoders.folded_patches import folded_patches
from tpdeploy.profiles.models.config.encoders.images import (
    BASE,
    LARGE,
    VIT,
    Tower,
    idefics,
    patch,
    patches,
    plain_layers,
    unplaced,
)
from tpdeploy.profiles.models.config.encoders.parameters import (
    Parameters,
    attention,
    block,
    column,
    linear,
    mlp,
    norm,
    row,
)
from tpdeploy.profiles.models.config.encoders.sound_towers import SOUND_TOWERS
from tpdeploy.profiles.models.config.encoders.special_towers import SPECIAL_TOWERS
from tpdeploy.profiles.models.config.keys import ConfigKeys


def clip(keys: ConfigKeys) -> Parameters:
    """CLIP: a token for the class, and a norm before the layers."""
    hidden = keys.whole("hidden_size")
    positions = Parameters(whole=(patches(keys) + 2) * hidden)
    return patch(keys, bias=False) + positions + norm(hidden) * 2 + plain_layers(keys)


def siglip(keys: ConfigKeys) -> Parameters:
    """SigLIP, with a head that pools unless `vision_use_head` is false."""
    return idefics(keys) + _pool(keys)


def siglip2(keys: ConfigKeys) -> Parameters:
    """SigLIP 2, whose images have any shape, of so many patches."""
    positions = Parameters(whole=keys.whole("num_patches") * keys.whole("hidden_size"))
    return unplaced(keys) + positions + _pool(keys)


def pixtral(keys: ConfigKeys) -> Parameters:
    """Pixtral: a Llama without causality."""
    hidden, wide = keys.whole("hidden_size"), keys.whole("intermediate_size")
    layer = attention(hidden, biases=0) + mlp(hidden, wide, gated=True, bias=False)
    layer += norm(hidden, bias=False) * 2
    return (
        patch(keys, bias=False) + norm(hidden, bias=False) + layer * keys.whole("num_hidden_layers")
    )


def qwen2_vl(keys: ConfigKeys) -> Parameters:
    """Qwen2-VL: patches of two frames, and a merger of neighbours in place of a projector."""
    hidden = keys.whole("embed_dim")
    layer = block(hidden, hidden * keys.whole("mlp_ratio"))
    merger = norm(hidden) + _merged(keys, hidden, keys.whole("hidden_size"))
    return _frames(keys, hidden, bias=False) + layer * keys.whole("depth") + merger


def qwen2_5_vl(keys: ConfigKeys) -> Parameters:
    """Qwen2.5-VL and EXAONE 4.5, which has fewer KV heads."""
    hidden, heads = keys.whole("hidden_size"), keys.whole("num_heads")
    kv = hidden // heads * keys.whole("num_key_value_heads", default=heads)
    layer = attention(hidden, keys=kv) + norm(hidden, bias=False) * 2
    layer += mlp(hidden, keys.whole("intermediate_size"), gated=True)
    merger = norm(hidden, bias=False) + _merged(keys, hidden, keys.whole("out_hidden_size"))
    return _frames(keys, hidden, bias=False) + layer * keys.whole("depth") + merger


def qwen3_vl(keys: ConfigKeys) -> Parameters:
    """Qwen3-VL, whose mergers look into some of the layers too, and Qwen3.5."""
    hidden, out = keys.whole("hidden_size"), keys.whole("out_hidden_size")
    layer = block(hidden, keys.whole("intermediate_size"))
    positions = Parameters(whole=keys.whole("num_position_embeddings") * hidden)
    merger = _merged(keys, hidden, out)
    looks = (merger + norm(_merged_size(keys, hidden))) * len(
        keys.numbers("deepstack_visual_indexes")
    )
    tower = _frames(keys, hidden) + positions + layer * keys.whole("depth")
    return tower + norm(hidden) + merger + looks


def glm4v(keys: ConfigKeys) -> Parameters:
    """GLM-4.1V and later: a convolution merges neighbours, and a gated MLP projects them."""
    hidden, out = keys.whole("hidden_size"), keys.whole("out_hidden_size")
    biases = 4 if keys.flag("attention_bias") else 0
    layer = attention(hidden, biases=biases) + norm(hidden, bias=False) * 2
    layer += mlp(hidden, out, gated=True, bias=False)
    merger = linear(out, _merged_size(keys, hidden)) + linear(out, out, bias=False) + norm(out)
    merger += mlp(out, keys.whole("intermediate_size"), gated=True, bias=False)
    positions = Parameters(whole=patches(keys) * hidden) + norm(hidden, bias=False) * 2
    return _frames(keys, hidden) + positions + layer * keys.whole("depth") + merger


def internvl(keys: ConfigKeys) -> Parameters:
    """InternVL: layers with scales of their own."""
    hidden, wide = keys.whole("hidden_size"), keys.whole("intermediate_size")
    layer = attention(hidden, biases=4 if keys.flag("attention_bias") else 1) + mlp(hidden, wide)
    layer += norm(hidden, bias=keys.text("norm_type", default="layer_norm") == "layer_norm") * 2
    layer += Parameters(whole=2 * hidden * (2 if keys.flag("use_qk_norm") else 1))
    positions = Parameters(whole=(patches(keys) + 2) * hidden)
    return patch(keys) + positions + layer * keys.whole("num_hidden_layers")


def step3(keys: ConfigKeys) -> Parameters:
    """Step-3: a token for the class, no norm in the end, two convolutions that merge neighbours."""
    hidden, out = keys.whole("hidden_size"), keys.whole("output_hidden_size")
    positions = Parameters(whole=(patches(keys) + 2) * hidden)
    merged = linear(out, 4 * hidden) + linear(2 * out, 9 * out)
    return patch(keys) + positions + plain_layers(keys) + merged


def step(keys: ConfigKeys) -> Parameters:
    """Step-3.7: layers with scales of their own, and two convolutions that merge neighbours."""
    hidden, wide = keys.whole("hidden_size"), keys.whole("intermediate_size")
    layer = block(hidden, wide) + Parameters(whole=2 * hidden)
    positions = Parameters(whole=keys.whole("max_position_embeddings") * hidden)
    merged = linear(2 * hidden, 9 * hidden) + linear(4 * hidden, 9 * 2 * hidden)
    into = patch(keys, bias=False) + norm(hidden) + positions
    return into + layer * keys.whole("num_hidden_layers") + merged


def llama4(keys: ConfigKeys) -> Parameters:
    """Llama 4: an MLP behind the layers works on merged patches."""
    hidden, wide = keys.whole("hidden_size"), keys.whole("intermediate_size")
    out = keys.whole("projector_output_dim")
    adapter = column(keys.whole("projector_input_dim"), wide, bias=False)
    adapter += row(out, keys.whole("projector_input_dim"), bias=False)
    positions = Parameters(whole=(patches(keys) + 2) * hidden)
    layers = plain_layers(keys) + norm(hidden) * 2
    return patch(keys, bias=False) + positions + layers + adapter


def blip2(keys: ConfigKeys) -> Parameters:
    """BLIP-2: a token for the class."""
    hidden = keys.whole("hidden_size")
    return unplaced(keys) + Parameters(whole=(patches(keys) + 2) * hidden)


def _pool(keys: ConfigKeys) -> Parameters:
    """SigLIP's head: one query attends to all patches."""
    if not keys.flag("vision_use_head", default=True):
        return Parameters()
    hidden, wide = keys.whole("hidden_size"), keys.whole("intermediate_size")
    attends = linear(3 * hidden, hidden) + linear(hidden, hidden) + Parameters(whole=hidden)
    return attends + norm(hidden) + mlp(hidden, wide)


def _frames(keys: ConfigKeys, hidden: int, *, bias: bool = True) -> Parameters:
    """Patches of several frames of a video."""
    frames, size = keys.whole("temporal_patch_size"), keys.whole("patch_size")
    channels = keys.whole("in_channels", "in_chans", default=3)
    return linear(hidden, channels * frames * size**2, bias=bias)


def _merged_size(keys: ConfigKeys, hidden: int) -> int:
    return hidden * keys.whole("spatial_merge_size") ** 2


def _merged(keys: ConfigKeys, hidden: int, out: int) -> Parameters:
    merged = _merged_size(keys, hidden)
    return column(merged, merged) + row(out, merged)


_IDEFICS2 = {**BASE, "image_size": 224, "patch_size": 32}
_IDEFICS3 = {**_IDEFICS2, "hidden_size": 1152}
_QWEN_FRAMES = {"patch_size": 14, "temporal_patch_size": 2, "spatial_merge_size": 2}
_QWEN2_5 = {
    **_QWEN_FRAMES,
    "depth": 32,
    "hidden_size": 3584,
    "num_heads": 16,
    "intermediate_size": 3420,
    "out_hidden_size": 3584,
}
_QWEN3 = {
    **_QWEN_FRAMES,
    "patch_size": 16,
    "depth": 27,
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "out_hidden_size": 3584,
    "num_position_embeddings": 2304,
}
_DEEPSTACK = {**_QWEN3, "deepstack_visual_indexes": [8, 16, 24]}
_GLM = {
    **_QWEN_FRAMES,
    "depth": 24,
    "hidden_size": 1536,
    "image_size": 336,
    "intermediate_size": 13696,
    "out_hidden_size": 4096,
}
_INTERNVL = {**LARGE, "image_size": 448, "patch_size": 14}
_BLIP = {
    "hidden_size": 1408,
    "intermediate_size": 6144,
    "num_hidden_layers": 39,
    "image_size": 224,
    "patch_size": 14,
}
# Each with what transformers takes for keys that published configs leave out.
TOWERS: Mapping[str, tuple[Tower, Mapping[str, object]]] = {
    "clip_vision_model": (clip, {**BASE, "image_size": 224, "patch_size": 32}),
    # Its config names openai/clip-vit-large-patch14-336, and none of its sizes.
    "phi3_v_image": (clip, {**LARGE, "image_size": 336, "patch_size": 14}),
    "siglip_vision_model": (siglip, {**BASE, **VIT}),
    "siglip2_vision_model": (siglip2, {**BASE, "num_patches": 256, "patch_size": 16}),
    "smolvlm_vision": (idefics, _IDEFICS3),
    "idefics2_vision": (idefics, _IDEFICS2),
    "idefics3_vision": (idefics, _IDEFICS3),
    "paddleocr_vl_vision": (
        idefics,
        {
            "hidden_size": 1152,
            "intermediate_size": 4304,
            "num_hidden_layers": 27,
            "image_size": 384,
            "patch_size": 14,
        },
    ),
    "video_llama_3_vision": (unplaced, {**BASE, "patch_size": 16}),
    "pixtral": (pixtral, {**LARGE, "patch_size": 16}),
    "qwen2_vl_vision": (
        qwen2_vl,
        {**_QWEN_FRAMES, "depth": 32, "embed_dim": 1280, "hidden_size": 3584, "mlp_ratio": 4},
    ),
    "qwen2_5_vl_vision": (qwen2_5_vl, _QWEN2_5),
    "qwen2_5_omni_vision_encoder": (qwen2_5_vl, _QWEN2_5),
    "exaone4_5_vision": (qwen2_5_vl, _QWEN_FRAMES),
    "qwen3_vl_vision": (qwen3_vl, _DEEPSTACK),
    "qwen3_vl_moe_vision": (qwen3_vl, _DEEPSTACK),
    "qwen3_omni_moe_vision_encoder": (qwen3_vl, _DEEPSTACK),
    "cohere_compass_vision": (qwen3_vl, _DEEPSTACK),
    "qwen3_5_vision": (qwen3_vl, _QWEN3),
    "qwen3_5_moe_vision": (qwen3_vl, _QWEN3),
    "qwen4_exp_vision": (qwen3_vl, _QWEN3),
    "glm4v_vision": (glm4v, _GLM),
    "glm4v_moe_vision": (glm4v, _GLM),
    "internvl_vision": (internvl, _INTERNVL),
    "qianfan_ocr_vision": (internvl, {**_INTERNVL, "attention_bias": True}),
    "llama4_vision_model": (
        llama4,
        {
            "hidden_size": 768,
            "intermediate_size": 5632,
            "num_hidden_layers": 34,
            "image_size": 448,
            "patch_size": 14,
            "projector_input_dim": 4096,
            "projector_output_dim": 4096,
        },
    ),
    "step3_vision_encoder": (
        step3,
        {
            "hidden_size": 1792,
            "intermediate_size": 3072,
            "output_hidden_size": 4096,
            "num_hidden_layers": 63,
            "image_size": 728,
            "patch_size": 14,
        },
    ),
    "step3p5_vision": (
        step,
        {
            "hidden_size": 1536,
            "intermediate_size": 8960,
            "num_hidden_layers": 47,
            "patch_size": 14,
            "max_position_embeddings": 2704,
        },
    ),
    "blip_2_vision_model": (blip2, _BLIP),
    "instructblip_vision_model": (blip2, _BLIP),
    "instructblipvideo_vision_model": (blip2, _BLIP),
    "inkling_vision": (
        folded_patches,
        {"n_layers": 24, "num_channels": 3, "patch_size": 40, "temporal_patch_size": 2},
    ),
    "inkling_vision_model": (folded_patches, {}),
    **SPECIAL_TOWERS,
    **SOUND_TOWERS,
}


def tower_keys(
    keys: ConfigKeys, name: str, usual: str, *, always: bool = False
) -> tuple[Tower, ConfigKeys] | None:
    """The tower that stands under `name` with its defaults, of the kind `usual` unless it says so.

    Qwen's checkpoints repeat the `model_type` of the whole model there, and MiniMax-M3's state one
    that is `always` another. None: nothing stands there, or a kind that is not known here.
    """
    part = keys.part(name)
    if part is None:
        return None
    stated = part.text("model_type", default="")
    says_nothing = always or stated in {"", keys.text("model_type", default="")}
    known = TOWERS.get(usual if says_nothing else stated)
    if known is None:
        return None
    count, defaults = known
    return count, ConfigKeys({**defaults, **part.config}, keys.id, part.where)
