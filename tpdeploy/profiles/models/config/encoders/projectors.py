"""Projectors: what brings a tower's output to the text model's hidden size.

As transformers 5.19 has them, or the code of a checkpoint that brings its own.
"""

from tpdeploy.profiles.models.config.encoders.parameters import (
    Parameters,
    column,
    linear,
    linears,
    mlp,
    norm,
    row,
)
from tpdeploy.profiles.models.config.encoders.special_towers import sam_neck
from tpdeploy.profiles.models.config.encoders.towers import tower_keys
from tpdeploy.profiles.models.config.encoders.wrapper import Wrapper
from tpdeploy.profiles.models.config.keys import ConfigKeys

PHI_TOWER = "openai/clip-vit-large-patch14-336"


def merged_in_tower(_: Wrapper) -> Parameters:
    """Qwen's and GLM's towers project by themselves."""
    return Parameters()


def llava(model: Wrapper) -> Parameters:
    """Two linear layers, of one or several layers' outputs."""
    seen = model.keys.value("vision_feature_layer")
    inputs = model.size * (len(seen) if isinstance(seen, list) else 1)
    bias = model.keys.flag("multimodal_projector_bias", default=True)
    hidden = model.hidden
    return column(hidden, inputs, bias=bias) + row(hidden, hidden, bias=bias)


def llava_next(model: Wrapper) -> Parameters:
    """LLaVA-NeXT also has an embedding that ends a row."""
    return llava(model) + Parameters(whole=model.hidden)


def mistral3(model: Wrapper) -> Parameters:
    """Neighbours merged, then two linear layers."""
    inner = model.size
    merged = inner * model.keys.whole("spatial_merge_size", default=2) ** 2
    bias, hidden = model.keys.flag("multimodal_projector_bias"), model.hidden
    merger = norm(inner, bias=False) + linear(inner, merged, bias=False)
    return merger + column(hidden, inner, bias=bias) + row(hidden, hidden, bias=bias)


def gemma3(model: Wrapper) -> Parameters:
    """One linear layer behind a norm."""
    inner = model.size
    return norm(inner, bias=False) + linear(model.hidden, inner, bias=False)


def paligemma(model: Wrapper) -> Parameters:
    """One linear layer."""
    return linear(model.hidden, model.size)


def cohere2_vision(model: Wrapper) -> Parameters:
    """A gated MLP of merged patches."""
    merged = model.size * model.keys.whole("downsample_factor", default=2) ** 2
    wide = model.keys.whole("alignment_intermediate_size", default=36864)
    return column(wide, merged) + row(model.hidden, wide // 2)


def smolvlm(model: Wrapper) -> Parameters:
    """One linear layer of merged patches."""
    merged = model.size * model.keys.whole("scale_factor", default=2) ** 2
    return linear(model.hidden, merged, bias=False)


def lfm2_vl(model: Wrapper) -> Parameters:
    """Two linear layers of merged patches, behind a norm."""
    merged = model.size * model.keys.whole("downsample_factor", default=2) ** 2
    wide = model.keys.whole("projector_hidden_size", default=2560)
    bias = model.keys.flag("projector_bias", default=True)
    normed = model.keys.flag("projector_use_layernorm", default=True)
    into = norm(merged) if normed else Parameters()
    return into + linears(merged, wide, model.hidden, bias=bias)


def hyperclovax(model: Wrapper) -> Parameters:
    """One linear layer behind what the tower's merger gives."""
    return linear(model.hidden, model.tower.whole("out_hidden_size"))


def internvl(model: Wrapper) -> Parameters:
    """Two linear layers of merged patches, behind a norm."""
    ratio = model.keys.value("downsample_ratio")
    if ratio not in (None, 0.5):
        raise model.keys.refused("downsample_ratio", "only 0.5 is known here")
    merged, hidden = 4 * model.size, model.hidden
    return norm(merged) + linears(merged, hidden, hidden)


def paddleocr_vl(model: Wrapper) -> Parameters:
    """Two linear layers of merged patches, behind a norm of each."""
    inner = model.size
    merged = inner * model.tower.whole("spatial_merge_size", default=2) ** 2
    return norm(inner) + linears(merged, merged, model.hidden)


def video_llama_3(model: Wrapper) -> Parameters:
    """Two linear layers."""
    return linears(model.size, model.hidden, model.hidden)


def llama4(model: Wrapper) -> Parameters:
    """One linear layer."""
    return linear(model.hidden, model.tower.whole("vision_output_dim", default=7680), bias=False)


def step3(model: Wrapper) -> Parameters:
    """One linear layer of what the tower merged."""
    inputs = 2 * model.tower.whole("output_hidden_size")
    return linear(model.hidden, inputs, bias=model.keys.flag("projector_bias"))


def step(model: Wrapper) -> Parameters:
    """One linear layer of what the tower merged."""
    return linear(model.hidden, 4 * model.size, bias=model.keys.flag("projector_bias"))


def voxtral(model: Wrapper) -> Parameters:
    """Two linear layers of four neighbours."""
    seen = model.tower.whole("intermediate_size")
    return linears(seen, model.hidden, model.hidden, bias=False)


def glm_asr(model: Wrapper) -> Parameters:
    """An MLP of four neighbours, twice as wide as the text model."""
    hidden = model.hidden
    return column(2 * hidden, model.tower.whole("intermediate_size")) + row(hidden, 2 * hidden)


def qwen3_asr(model: Wrapper) -> Parameters:
    """Two linear layers."""
    size = model.tower.whole("d_model")
    return linears(size, size, model.tower.whole("output_dim"))


def gemma4_images(model: Wrapper) -> Parameters:
    """One linear layer."""
    return linear(model.hidden, model.size, bias=False)


def gemma4_sound(model: Wrapper) -> Parameters:
    """One linear layer."""
    return linear(model.hidden, model.tower.whole("output_proj_dims"), bias=False)


def gemma3n(model: Wrapper) -> Parameters:
    """An embedding of words that stand for images or sound, norms and one linear layer."""
    inner = model.size
    words = Parameters(whole=model.tower.whole("vocab_size", default=128) * inner)
    return words + norm(inner, bias=False) * 2 + linear(model.hidden, inner, bias=False)


def minimax(model: Wrapper) -> Parameters:
    """Two linear layers of each patch, and two of its neighbours."""
    wide, hidden = model.keys.whole("projector_hidden_size", default=6144), model.hidden
    merged = hidden * model.tower.whole("spatial_merge_size") ** 2
    return linears(model.size, wide, hidden) + linears(merged, wide, hidden)


def kimi(model: Wrapper) -> Parameters:
    """Two linear layers of four neighbours, behind a norm of each."""
    inner = model.tower.whole("vt_hidden_size", "hidden_size")
    return norm(inner) + linears(4 * inner, 4 * inner, model.hidden)


def kimi_k3(model: Wrapper) -> Parameters:
    """Two linear layers of four neighbours, and a norm behind them."""
    merged = 4 * model.tower.whole("vt_hidden_size")
    return linears(merged, merged, model.hidden, bias=False) + norm(model.hidden, bias=False)


def minicpm(model: Wrapper) -> Parameters:
    """Two linear layers of four neighbours, behind a norm."""
    times = model.keys.whole("merger_times", default=1)
    if times != 1:
        raise model.keys.refused("merger_times", "only 1 is known here")
    merged = 4 * model.size
    return norm(merged) + linears(merged, merged, model.hidden)


def ovis2(model: Wrapper) -> Parameters:
    """An embedding of what images show."""
    hidden = model.keys.whole("hidden_size", default=model.hidden)
    return Parameters(whole=model.tower.whole("vocab_size") * hidden)


def got_ocr2(model: Wrapper) -> Parameters:
    """Two convolutions that halve each side, and a linear layer."""
    return _halved(model.tower) + linear(model.hidden, 4 * model.tower.whole("output_channels"))


def deepseek_vl_hybrid(model: Wrapper) -> Parameters:
    """What both towers see, each as half of a hidden state."""
    fine, half = model.tower, model.hidden // 2
    coarse = tower_keys(model.keys, "vision_config", "siglip_vision_model")
    if coarse is None:
        raise model.keys.refused("vision_config", "need one beside high_res_vision_config")
    size = coarse[1].whole("hidden_size")
    narrowed = sam_neck(fine) + _halved(fine) + Parameters(whole=1)
    halves = linear(half, size) + linear(half, 4 * fine.whole("output_channels"))
    return narrowed + halves + linear(model.hidden, model.hidden)


def ernie(model: Wrapper) -> Parameters:
    """Neighbours merged in space, then in time; and in each layer experts for images."""
    merged = model.size * model.tower.whole("spatial_merge_size", default=2) ** 2
    frames = model.tower.whole("temporal_merge_size", default=2) * merged
    merger = linears(merged, merged, merged) + linears(frames, merged, merged)
    merger += norm(merged) * 2 + linear(model.hidden, merged) + norm(model.hidden, bias=False)
    widths, count = model.text.numbers("moe_intermediate_size"), model.text.whole("moe_num_experts")
    if len(widths) != 2:
        raise model.text.refused("moe_intermediate_size", "need one for text and one for images")
    experts = mlp(model.hidden, widths[1], gated=True, bias=False) * count
    router = Parameters(whole=(model.hidden + 1) * count)
    return merger + (experts + router) * model.text.words("mlp_layer_types").count("sparse")


def muse(model: Wrapper) -> Parameters:
    """Two linear layers of merged patches, and one to the hidden state."""
    merged = model.keys.whole("out_hidden_size", default=4 * model.size)
    wide = model.keys.whole("projector_hidden_size", default=4096)
    return linears(merged, wide, wide, model.hidden, bias=False)


def phi3_v(model: Wrapper) -> Parameters:
    """Two linear layers of four neighbours, and embeddings that end a row and an image."""
    if model.tower.text("model_name") != PHI_TOWER:
        raise model.tower.refused("model_name", f"only {PHI_TOWER} is known here")
    merged, hidden = 4 * model.size, model.hidden
    return linears(merged, hidden, hidden) + Parameters(whole=2 * merged)


def _halved(keys: ConfigKeys) -> Parameters:
    """Two convolutions of SAM's output that halve each side, and double the channels."""
    narrow = keys.whole("output_channels")
    return linear(2 * narrow, 9 * narrow, bias=False) + linear(4 * narrow, 18 * narrow, bias=False)
