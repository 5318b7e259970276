"""ModelShape: everything a plan needs to know about a model, derived from its config.json."""

from typing import Literal

from pydantic import Field

from tpdeploy.profiles.record import Dtype, Provenance, Record, Text


class Attention(Record):
    """Multi-head attention with grouped KV heads (MHA when `kv_heads == heads`)."""

    heads: int = Field(gt=0)
    kv_heads: int = Field(gt=0)
    head_size: int = Field(gt=0)
    qkv_bias: bool = False
    output_bias: bool = False
    qk_norm: Literal["none", "head", "projection"] = Field(
        default="none", description="norms of Q and of K: over one head, or over all of them"
    )
    sinks: bool = Field(default=False, description="one learned logit a head (gpt-oss)")
    sliding_window: int | None = Field(default=None, gt=0)
    sliding_layers: int = Field(default=0, ge=0, description="layers that use sliding_window")


class LatentAttention(Record):
    """Multi-head latent attention (MLA, DeepSeek-V2 and later)."""

    heads: int = Field(gt=0)
    q_lora_rank: int | None = Field(default=None, gt=0, description="None: Q is one projection")
    kv_lora_rank: int = Field(gt=0)
    qk_nope_size: int = Field(gt=0)
    qk_rope_size: int = Field(gt=0)
    v_size: int = Field(gt=0)


class DenseMlp(Record):
    """Feed-forward block: gate, up and down when gated, else up and down."""

    intermediate: int = Field(gt=0)
    gated: bool = True
    bias: bool = False


class Experts(Record):
    """Routed experts and what stands beside them."""

    count: int = Field(gt=0)
    per_token: int = Field(gt=0)
    intermediate: int = Field(gt=0)
    bias: bool = Field(default=False, description="biases in the experts (gpt-oss)")
    router_bias: bool = False
    shared_intermediate: int = Field(default=0, ge=0, description="width of the shared expert(s)")
    shared_gate: bool = Field(default=False, description="a learned gate on the shared expert")
    layers: int = Field(gt=0, description="layers with experts; the others use the dense MLP")


class Quantization(Record):
    """How a checkpoint stores the weights of its linear layers."""

    method: Text = Field(description="fp8, awq, gptq, mxfp4, nvfp4, compressed-tensors …")
    weights: Dtype
    group_size: int | None = Field(default=None, gt=0, description="values that share one scale")
    scale_bits: int = Field(default=0, ge=0, description="bits of one scale (and zero point)")
    input_block: int | None = Field(
        default=None, gt=0, description="a shard's inputs must be a multiple of this"
    )
    output_block: int | None = Field(
        default=None, gt=0, description="a shard's outputs must be a multiple of this"
    )
    excluded: tuple[Text, ...] = Field(
        default=(), description="linear layers kept in the native dtype, by their tensor's name"
    )


class ModelShape(Record):
    """A decoder-only transformer, as far as serving it is concerned."""

    id: Text = Field(description="hub id or the local folder's name")
    path: str | None = Field(default=None, description="local folder of the checkpoint")
    architecture: Text
    layers: int = Field(gt=0)
    hidden: int = Field(gt=0)
    vocab: int = Field(gt=0)
    tied_embeddings: bool
    max_context: int = Field(gt=0)
    dtype: Dtype = Field(description="native dtype of the checkpoint's unquantized tensors")
    attention: Attention | LatentAttention
    mlp: DenseMlp | None = Field(default=None, description="None when every layer has experts")
    experts: Experts | None = None
    norms_per_layer: int = Field(default=2, ge=1)
    norm_bias: bool = False
    head_bias: bool = False
    learned_positions: int = Field(default=0, ge=0, description="rows of a position embedding")
    quantization: Quantization | None = None


class ModelProfile(Provenance):
    """A bundled model: the facts of its published config.json, and names people use for it."""

    id: Text
    aliases: tuple[Text, ...] = ()
    parameters: int = Field(gt=0, description="published parameter count, to check the shape by")
    config: dict[str, object] = Field(description="config.json, the keys that give the shape")
