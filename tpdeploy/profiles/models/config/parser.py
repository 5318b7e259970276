"""From a Hugging Face config.json to a ModelShape: one parser for every source of the file."""

from collections.abc import Mapping

from pydantic import ValidationError

from tpdeploy.errors import InputError, nearest
from tpdeploy.profiles.models.config.attention import (
    attention_from_config,
    indexer_from_config,
    switched,
    windowed_from_config,
)
from tpdeploy.profiles.models.config.encoders.wrappers import UNSTATED, beside_the_text
from tpdeploy.profiles.models.config.families.family import Family
from tpdeploy.profiles.models.config.families.known import FAMILIES
from tpdeploy.profiles.models.config.families.unplanned import ENCODER_DECODER, UNPLANNED
from tpdeploy.profiles.models.config.keys import ConfigKeys
from tpdeploy.profiles.models.config.layer_inputs import layer_inputs_from_config
from tpdeploy.profiles.models.config.layer_kinds import LayerKinds, layer_kinds
from tpdeploy.profiles.models.config.mlp import (
    experts_from_config,
    mlp_from_config,
    narrower_mlps,
)
from tpdeploy.profiles.models.config.ngrams import ngrams_from_config
from tpdeploy.profiles.models.config.quantization import quantization_from_config
from tpdeploy.profiles.models.config.recurrent import linear_from_config
from tpdeploy.profiles.models.config.text_defaults import TEXT_DEFAULTS
from tpdeploy.profiles.models.shape import Encoders, ModelShape, Streams
from tpdeploy.profiles.record import Dtype

DTYPES = {"bfloat16": Dtype.BF16, "float16": Dtype.FP16, "float32": Dtype.FP32}
# Tokens of context of a model without attention, which sets no limit itself.
UNBOUND = 2**20
# Keys of a multimodal config.json that hold for its text model too.
SHARED_KEYS = (
    "architectures",
    "dtype",
    "torch_dtype",
    "tie_word_embeddings",
    "quantization_config",
)


def shape_from_config(
    config: Mapping[str, object], *, id: str, path: str | None = None
) -> ModelShape:
    """The shape of the model that `config` describes, called `id`.

    Of a multimodal model it is the text model's, with what its encoders hold beside it.

    Raises:
        InputError: an architecture or format that is not known, a key that is missing or has an
            impossible value.
    """
    config = {**UNSTATED.get(str(config.get("model_type")), {}), **_served_part(config)}
    language = _language_part(config)
    kind = ConfigKeys(language, id).text("model_type")
    family = FAMILIES.get(kind)
    if family is None:
        both = ENCODER_DECODER if language.get("is_encoder_decoder") is True else None
        why = UNPLANNED.get(kind) or both or f"which is not known here; {nearest(kind, FAMILIES)}"
        raise InputError(f"{id}: config.json has model_type {kind!r}, {why}")
    lifted = _lifted(ConfigKeys(language, id), family)
    keys = ConfigKeys({**family.defaults, **lifted, **language}, id, renamed=family.renamed)
    for name, value in family.only.items():
        found = keys.value(name)
        if found is not None and (type(found) is not type(value) or found != value):
            raise keys.refused(name, f"only {str(value).lower()} is known here for {kind}")
    try:
        return _shape(keys, family, path).changed(**_beside(config, keys))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{id}: config.json gives no valid {where}: {first['msg']}") from error


def _lifted(keys: ConfigKeys, family: Family) -> Mapping[str, object]:
    """The keys of the parts that this family's configs nest (DBRX)."""
    parts = [keys.part(name) for name in family.lifted]
    return {key: value for part in parts if part for key, value in part.config.items()}


def _beside(config: Mapping[str, object], text: ConfigKeys) -> Mapping[str, object]:
    """What a multimodal model has beside its text model, as fields of its shape."""
    parts = tuple(
        name
        for name, part in config.items()
        if name.endswith(("vision_config", "audio_config", "encoder_config", "img_processor"))
        and part
    )
    if not parts:
        return {}
    found = beside_the_text(ConfigKeys(config, text.id), text)
    if found is None:
        return {"uncounted": parts}
    return {"encoders": Encoders(split=found.split, whole=found.whole)}


def _served_part(config: Mapping[str, object]) -> Mapping[str, object]:
    """Of a model that speaks too, the part that reads and writes: its thinker (Qwen Omni).

    Engines serve that part alone, and load no other weights.
    """
    thinker = config.get("thinker_config")
    if not isinstance(thinker, Mapping):
        return config
    shared = {key: config[key] for key in SHARED_KEYS if key in config}
    return {"model_type": f"{config.get('model_type')}_thinker", **shared, **thinker}


def _language_part(config: Mapping[str, object]) -> Mapping[str, object]:
    """The text model's config inside a multimodal one, else the config itself."""
    inner = config.get("text_config")
    if not isinstance(inner, Mapping):
        return config
    shared = {key: config[key] for key in SHARED_KEYS if key in config}
    language = {"model_type": f"{config.get('model_type')}_text", **shared, **inner}
    # The head is the wrapper's: what it says of the tie holds, whatever text_config says.
    tied = {key: config[key] for key in ("tie_word_embeddings",) if config.get(key) is not None}
    return {**TEXT_DEFAULTS.get(str(language["model_type"]), {}), **language, **tied}


def _shape(keys: ConfigKeys, family: Family, path: str | None) -> ModelShape:
    kinds, alone = layer_kinds(keys, family), family.recurrent_alone
    context = keys.whole("max_position_embeddings", default=UNBOUND if alone else None)
    extra = family.extra_positions
    architectures = keys.words("architectures") or [keys.text("model_type")]
    return ModelShape(
        id=keys.id,
        path=path,
        architecture=architectures[0],
        layers=kinds.layers,
        groups=kinds.groups,
        hidden=keys.whole("hidden_size"),
        vocab=keys.whole("vocab_size"),
        tied_embeddings=keys.flag("tie_word_embeddings"),
        max_context=context,
        dtype=_dtype(keys),
        attention=attention_from_config(keys, family, kinds),
        windowed=windowed_from_config(keys, family, kinds),
        linear=linear_from_config(keys, family, kinds),
        indexer=indexer_from_config(keys, family, kinds),
        mlp=mlp_from_config(keys, family, kinds),
        narrower_mlps=narrower_mlps(keys, family, kinds),
        experts=experts_from_config(keys, family, kinds),
        parallel_blocks=switched(keys, family.parallel_blocks),
        streams=_streams(keys, family),
        depth_attention=keys.optional("attn_res_block_size"),
        norms_per_layer=_norms(keys, family, kinds),
        norms_by_block=family.searched,
        norm_gate_rank=keys.optional("gated_norm_rank"),
        final_norm=family.final_norm,
        norm_bias=family.norm_bias,
        embedding_norm=family.embedding_norm,
        head_bias=switched(keys, family.head_bias),
        learned_positions=0 if extra is None else context + extra,
        layer_inputs=layer_inputs_from_config(keys),
        ngrams=ngrams_from_config(keys),
        short_convolution=keys.whole("sconv_kernel_size", least=2) if family.relative else None,
        quantization=quantization_from_config(keys, family, kinds),
    )


def _streams(keys: ConfigKeys, family: Family) -> Streams | None:
    """The residual streams of a model that has more than one."""
    count = keys.whole("hc_mult", default=1)
    if count == 1:
        return None
    kind = family.streams
    return Streams(
        count=count,
        mixed=kind != "apart",
        merged=kind != "averaged",
        rank=keys.optional("hc_lowrank"),
    )


def _norms(keys: ConfigKeys, family: Family, kinds: LayerKinds) -> int:
    """Norms of the hidden size in each layer."""
    if family.kv_heads == "falcon":
        if not keys.flag("parallel_attn"):
            return 2
        usual = 2 if keys.flag("new_decoder_architecture") else 1
        return keys.whole("num_ln_in_parallel_attn", default=usual)
    # Gemma 4 norms what its dense MLP and its experts give apart, and what the experts get.
    post = 2 if family.post_norms and keys.flag(family.post_norms) else 0
    gemma = family.experts == "gemma4" and kinds.mlps[0] == "both"
    return family.norms_per_layer + post + (3 if gemma else 0)


def _dtype(keys: ConfigKeys) -> Dtype:
    """The native dtype; engines take BF16 where the config names none (gpt-oss)."""
    key = "dtype" if keys.config.get("dtype") is not None else "torch_dtype"
    name = keys.text(key, default="bfloat16")
    if name not in DTYPES:
        raise keys.refused(key, nearest(name, DTYPES))
    return DTYPES[name]
