"""Wrappers: what a multimodal model has beside its text model, by its own `model_type`.

Each is a tower, or two, and what projects its output.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from tpdeploy.profiles.models.config.encoders import projectors, queries
from tpdeploy.profiles.models.config.encoders.parameters import Parameters
from tpdeploy.profiles.models.config.encoders.projectors import merged_in_tower
from tpdeploy.profiles.models.config.encoders.towers import tower_keys
from tpdeploy.profiles.models.config.encoders.wrapper import Projector, Wrapper
from tpdeploy.profiles.models.config.keys import ConfigKeys


@dataclass(frozen=True)
class Kind:
    """A kind of wrapper."""

    tower: str  # the usual kind
    project: Projector = merged_in_tower
    part: str = "vision_config"  # where its tower stands
    towers: int = 1
    always: bool = False  # whatever its part calls itself
    beside: tuple["Kind", ...] = ()  # further towers, where config.json has their part


WRAPPERS: Mapping[str, Kind] = {
    "llava": Kind("clip_vision_model", projectors.llava),
    "llava_next": Kind("clip_vision_model", projectors.llava_next),
    "llava_next_video": Kind("clip_vision_model", projectors.llava_next),
    "llava_onevision": Kind("siglip_vision_model", projectors.llava_next),
    "video_llava": Kind("clip_vision_model", projectors.llava, towers=2),
    "deepseek_vl": Kind("siglip_vision_model", projectors.llava),
    "mistral3": Kind("pixtral", projectors.mistral3),
    "lighton_ocr": Kind("pixtral", projectors.mistral3),
    "gemma3": Kind("siglip_vision_model", projectors.gemma3),
    "paligemma": Kind("siglip_vision_model", projectors.paligemma),
    "cohere2_vision": Kind("siglip_vision_model", projectors.cohere2_vision),
    "lfm2_vl": Kind("siglip2_vision_model", projectors.lfm2_vl),
    "smolvlm": Kind("smolvlm_vision", projectors.smolvlm),
    "idefics3": Kind("idefics3_vision", projectors.smolvlm),
    "idefics2": Kind("idefics2_vision", queries.idefics2),
    "inkling_mm_model": Kind(
        "inkling_vision", beside=(Kind("inkling_audio", part="audio_config"),)
    ),
    "internvl": Kind("internvl_vision", projectors.internvl),
    "qianfan_ocr": Kind("qianfan_ocr_vision", projectors.internvl),
    "paddleocr_vl": Kind("paddleocr_vl_vision", projectors.paddleocr_vl),
    "video_llama_3": Kind("video_llama_3_vision", projectors.video_llama_3),
    "llama4": Kind("llama4_vision_model", projectors.llama4),
    "step3_vl": Kind("step3_vision_encoder", projectors.step3),
    "step3p7": Kind("step3p5_vision", projectors.step),
    "gemma4": Kind(
        "gemma4_vision",
        projectors.gemma4_images,
        beside=(Kind("gemma4_audio", projectors.gemma4_sound, part="audio_config"),),
    ),
    "gemma3n": Kind(
        "gemma3n_vision",
        projectors.gemma3n,
        beside=(Kind("gemma3n_audio", projectors.gemma3n, part="audio_config"),),
    ),
    "minimax_m3_vl": Kind("minimax_m3_vl_vision", projectors.minimax, always=True),
    "glm5_next": Kind("glm5_next_vision"),
    "kimi_k25": Kind("kimi_k25_vision", projectors.kimi),
    "kimi_k3": Kind("kimi_k3_vision", projectors.kimi_k3),
    "minicpmv4_6": Kind("minicpmv4_6_vision", projectors.minicpm),
    "ernie4_5_vl_moe": Kind("ernie4_5_vl_moe_vision", projectors.ernie),
    "muse_glimmer": Kind("muse_glimmer_vision", projectors.muse),
    "phi3_v": Kind("phi3_v_image", projectors.phi3_v, part="img_processor"),
    "ovis2": Kind("ovis2_vision", projectors.ovis2),
    "got_ocr2": Kind("got_ocr2_vision", projectors.got_ocr2),
    "deepseek_vl_hybrid": Kind(
        "siglip_vision_model",
        beside=(
            Kind("sam_vision_model", projectors.deepseek_vl_hybrid, part="high_res_vision_config"),
        ),
    ),
    "qwen2_5_omni_thinker": Kind(
        "qwen2_5_vl_vision",
        beside=(Kind("qwen2_5_omni_audio_encoder", part="audio_config"),),
    ),
    "qwen3_omni_moe_thinker": Kind(
        "qwen3_omni_moe_vision_encoder",
        beside=(Kind("qwen3_omni_moe_audio_encoder", projectors.qwen3_asr, part="audio_config"),),
    ),
    "granite_speech": Kind("granite_speech_encoder", queries.granite_speech, part="encoder_config"),
    "granite_speech_plus": Kind(
        "granite_speech_plus_encoder", queries.granite_speech, part="encoder_config"
    ),
    "blip-2": Kind("blip_2_vision_model", queries.blip2),
    "instructblip": Kind("instructblip_vision_model", queries.instructblip),
    "instructblipvideo": Kind("instructblipvideo_vision_model", queries.instructblip),
    "qwen2_vl": Kind("qwen2_vl_vision"),
    "qwen2_5_vl": Kind("qwen2_5_vl_vision"),
    "hyperclovax_vision_v2": Kind("qwen2_5_vl_vision", projectors.hyperclovax),
    "cohere_compass": Kind("cohere_compass_vision"),
    "exaone4_5": Kind("exaone4_5_vision"),
    "qwen3_vl": Kind("qwen3_vl_vision"),
    "qwen3_vl_moe": Kind("qwen3_vl_moe_vision"),
    "qwen3_5": Kind("qwen3_5_vision"),
    "qwen3_5_moe": Kind("qwen3_5_moe_vision"),
    "qwen4_exp": Kind("qwen4_exp_vision"),
    "glm4v": Kind("glm4v_vision"),
    "glm4v_moe": Kind("glm4v_moe_vision"),
    "glm46v": Kind("glm4v_vision"),
    "glmga": Kind("glm4v_vision"),
    "voxtral": Kind("voxtral_encoder", projectors.voxtral, part="audio_config"),
    "glmasr": Kind("glmasr_encoder", projectors.glm_asr, part="audio_config"),
    "qwen3_asr": Kind("qwen3_asr_encoder", projectors.qwen3_asr, part="audio_config"),
}

# Parts that a model has by its class's defaults where config.json leaves them out.
UNSTATED: Mapping[str, Mapping[str, object]] = {
    "step3p7": {"vision_config": {"model_type": "step3p5_vision"}},
}


def beside_the_text(keys: ConfigKeys, text: ConfigKeys) -> Parameters | None:
    """What the multimodal model that `keys` describe has beside its text model.

    None: a kind of model or of tower that is not known here.
    """
    kind = WRAPPERS.get(keys.text("model_type", default=""))
    if kind is None:
        return None
    counted = [_counted(each, keys, text) for each in (kind, *kind.beside) if keys.value(each.part)]
    known = [each for each in counted if each is not None]
    return sum(known, Parameters()) if known and len(known) == len(counted) else None


def _counted(kind: Kind, keys: ConfigKeys, text: ConfigKeys) -> Parameters | None:
    """One tower and what projects its output; None: a kind of tower that is not known here."""
    found = tower_keys(keys, kind.part, kind.tower, always=kind.always)
    if found is None:
        return None
    count, seen = found
    return count(seen) * kind.towers + kind.project(Wrapper(keys, text, seen))
