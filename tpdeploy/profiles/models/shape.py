"""ModelShape: everything a plan needs to know about a model, derived from its config.json."""

from typing import Literal

from pydantic import Field, model_validator

from tpdeploy.profiles.record import Dtype, Provenance, Record, Text

# What mixes tokens in a layer, and what stands behind it.
Mixer = Literal["full", "sliding", "linear", "both", "none"]
Mlp = Literal["dense", "sparse", "both", "none"]


class RelativeBias(Record):
    """Inkling: what attention adds to scores by distance, in place of rotary positions."""

    size: int = Field(gt=0, description="values of each head that it comes from")
    extent: int = Field(gt=0, description="tokens; those further back have none")


class Attention(Record):
    """Multi-head attention with grouped KV heads (MHA when `kv_heads == heads`)."""

    heads: int = Field(gt=0)
    kv_heads: int = Field(gt=0)
    head_size: int = Field(gt=0)
    v_size: int | None = Field(default=None, gt=0, description="of V; None: head_size")
    keys_are_values: bool = Field(default=False, description="V is K before its norm (Gemma 4)")
    q_lora_rank: int | None = Field(
        default=None, gt=0, description="of the latent that Q comes from; None: one projection"
    )
    output_gate: bool = Field(default=False, description="a gate for each value, computed beside Q")
    head_gate: bool = Field(default=False, description="a gate for each head")
    layers: int | None = Field(
        default=None, ge=0, description="layers with it; None: all that have no other kind"
    )
    qkv_bias: bool = False
    output_bias: bool = False
    qk_norm: Literal["none", "head", "heads", "projection"] = Field(
        default="none",
        description="norms of Q and of K: over one head, with the same weights for all ('head') or "
        "each its own ('heads'), or over all heads at once ('projection')",
    )
    sinks: bool = Field(default=False, description="one learned logit per head (gpt-oss)")
    relative: RelativeBias | None = None
    sliding_window: int | None = Field(default=None, gt=0, description="tokens")
    sliding_layers: int = Field(default=0, ge=0, description="layers that use sliding_window")
    borrowing: int = Field(
        default=0, ge=0, description="layers without a window that use the K and V of earlier ones"
    )
    borrowing_sliding: int = Field(default=0, ge=0, description="the same, with a window")

    @property
    def value_size(self) -> int:
        """Values of V in one head."""
        return self.v_size or self.head_size


class LatentAttention(Record):
    """Multi-head latent attention (MLA, DeepSeek-V2 and later)."""

    heads: int = Field(gt=0)
    q_lora_rank: int | None = Field(default=None, gt=0, description="None: Q is one projection")
    kv_lora_rank: int = Field(gt=0)
    qk_nope_size: int = Field(gt=0)
    qk_rope_size: int = Field(ge=0)
    v_size: int = Field(gt=0)
    output_gate: bool = Field(default=False, description="a gate for each value of the output")
    head_gate: bool = Field(default=False, description="a gate for each head")
    latent_gate: bool = Field(
        default=False, description="Q and a gate come from Q's latent, normed and not (A.X K2)"
    )
    sinks: bool = Field(default=False, description="one learned logit per head")
    layers: int | None = Field(
        default=None, gt=0, description="layers with it; None: all that have no other kind"
    )


class CompressedAttention(Record):
    """DeepSeek-V4: one KV head whose keys are its values, in a window and in compressed entries.

    Every layer sees the last `sliding_window` tokens. `sparse` layers see besides what an indexer
    picks of entries that stand for `sparse_ratio` tokens each, `dense` ones every entry of
    `dense_ratio` tokens.
    """

    heads: int = Field(gt=0)
    head_size: int = Field(gt=0)
    rope_size: int = Field(gt=0)
    q_lora_rank: int = Field(gt=0)
    output_groups: int = Field(gt=0, description="groups of heads with an output projection each")
    output_rank: int = Field(gt=0, description="what a group's output projection gives")
    sliding_window: int = Field(gt=0, description="tokens")
    sparse_ratio: int = Field(gt=0)
    sparse_layers: int = Field(ge=0)
    dense_ratio: int = Field(gt=0)
    dense_layers: int = Field(ge=0)
    layers: int | None = None


class SharedAttention(Record):
    """Zamba2: blocks of attention and MLP whose weights several layers use.

    A block sees the hidden state and the embedding side by side.
    """

    heads: int = Field(gt=0)
    head_size: int = Field(gt=0)
    blocks: int = Field(gt=0, description="sets of weights, used in turn")
    intermediate: int = Field(gt=0, description="width of its MLP")
    adapter_rank: int = Field(gt=0, description="of what each layer adds to a block")
    adapts_attention: bool = Field(default=False, description="adapters beside Q, K and V too")
    layers: int = Field(gt=0)


class LinearAttention(Record):
    """Attention through a state of constant size, after a short causal convolution.

    `delta` is the gated delta net of Qwen3-Next and Qwen3.5, `kda` Kimi's; in `mamba2` (Nemotron-H)
    Q and K are called C and B, their heads groups, and their size the state's. In `mamba` (Jamba)
    every value is a head. A `convolution` (LFM2) has no state but the tokens it spans.
    """

    kind: Literal["delta", "kda", "mamba", "mamba2", "convolution"]
    key_heads: int = Field(gt=0)
    key_size: int = Field(gt=0)
    value_heads: int = Field(gt=0)
    value_size: int = Field(gt=0)
    convolution: int = Field(gt=1, description="tokens the convolution spans")
    convolution_bias: bool = False
    output_norm: bool = Field(default=True, description="of what mamba selects: B, C and step size")
    rank: int | None = Field(default=None, gt=0, description="of what decay and gate come from")
    full_gate: bool = Field(default=False, description="the gate comes from the hidden state")
    full_decay: bool = Field(default=False, description="the decay comes from the hidden state")
    state_dtype: Dtype | None = Field(
        default=Dtype.FP32, description="of the state engines keep; None: the model's"
    )
    layers: int = Field(gt=0)

    @property
    def keys(self) -> int:
        """Values of K over all heads."""
        return self.key_heads * self.key_size

    @property
    def values(self) -> int:
        """Values of V over all heads."""
        return self.value_heads * self.value_size


class Indexer(Record):
    """Picks the tokens of context that attention looks at (sparse attention).

    `latent` indexers (DeepSeek-V3.2, GLM-5) read MLA's latent of Q; `hidden` ones (MiniMax-M3)
    the hidden state, and pick whole blocks. `compressed` ones (DeepSeek-V4) make keys of several
    tokens each, and so do `pooled` ones (GLM-5.3-Flash), which read MLA's latent, and `averaged`
    ones (Qwen4-Exp), which read the hidden state and have no weights for it.
    """

    kind: Literal["latent", "pooled", "hidden", "compressed", "averaged"]
    tokens_per_key: int = Field(default=1, gt=0)
    heads: int = Field(gt=0)
    head_size: int = Field(gt=0)
    most_tokens: int = Field(gt=0, description="keys of context it picks for one query")
    layers: int = Field(gt=0, description="layers with an indexer of their own")
    sparse_layers: int = Field(gt=0, description="layers that attend to what an indexer picked")


class DenseMlp(Record):
    """Feed-forward block: gate, up and down when gated, else up and down."""

    intermediate: int = Field(gt=0, description="values between its products")
    gated: bool = True
    bias: bool = False
    activation: int = Field(default=0, ge=0, description="parameters of its activation (xIELU)")
    scaled: bool = Field(default=False, description="one scale of what it gives (Inkling)")
    layers: int | None = Field(
        default=None, gt=0, description="layers with it; None: all without experts"
    )


class Experts(Record):
    """Routed experts and what stands beside them."""

    count: int = Field(gt=0)
    per_token: int = Field(gt=0)
    intermediate: int = Field(gt=0, description="values between one expert's products")
    gated: bool = True
    latent: int | None = Field(
        default=None, gt=0, description="what the experts work on, when not the hidden size"
    )
    latent_norm: bool = Field(default=False, description="a norm of what they give (Kimi-K3)")
    bias: bool = Field(default=False, description="biases in the experts (gpt-oss)")
    weightless: int = Field(
        default=0, ge=0, description="further ones that give back what they get (LongCat)"
    )
    router_bias: bool = False
    router_scales: bool = Field(default=False, description="a scale for each input and each expert")
    shared_intermediate: int = Field(default=0, ge=0, description="width of the shared expert(s)")
    shared_gate: bool = Field(default=False, description="a learned gate on the shared expert")
    routed_shared: int = Field(
        default=0, ge=0, description="shared experts that the router scores too (Inkling)"
    )
    scaled: bool = Field(default=False, description="one scale of what all give (Inkling)")
    output_norm: bool = Field(default=False, description="a norm behind them (A.X K1)")
    layers: int = Field(gt=0, description="layers with experts; the others use the dense MLP")

    @property
    def share(self) -> float:
        """Of a token's choices, what falls on each."""
        return self.per_token / (self.count + self.weightless)

    @property
    def computed_per_token(self) -> float:
        """Those with weights that a token takes."""
        return self.share * self.count


class StoredFormat(Record):
    """How a checkpoint stores a linear layer's weight: its values and their scales."""

    weights: Dtype
    group_size: int | None = Field(default=None, gt=0, description="values that share one scale")
    scale_bits: int = Field(default=0, ge=0, description="bits of one scale (and zero point)")
    output_scale_bits: int = Field(default=0, ge=0, description="of scales one for each output")
    input_scale_bits: int = Field(default=0, ge=0, description="of what each input has")
    tensor_scale_bits: int = Field(default=0, ge=0, description="of scales one for a tensor")
    input_block: int | None = Field(
        default=None, gt=0, description="a shard's inputs must be a multiple of this"
    )
    output_block: int | None = Field(
        default=None, gt=0, description="a shard's outputs must be a multiple of this"
    )


class OtherFormat(StoredFormat):
    """The format of some linear layers in a checkpoint of mixed precision."""

    linears: tuple[Text, ...] = Field(description="by their tensor's name")


class Quantization(StoredFormat):
    """How a checkpoint stores the weights of its linear layers."""

    method: Text = Field(description="fp8, awq, gptq, mxfp4, modelopt, compressed-tensors …")
    excluded: tuple[Text, ...] = Field(
        default=(), description="linear layers kept in the native dtype, by their tensor's name"
    )
    partly_excluded: tuple[tuple[Text, int], ...] = Field(
        default=(), description="linear layers kept in the native dtype in that many layers alone"
    )
    others: tuple[OtherFormat, ...] = ()
    kv_cache: Dtype | None = Field(default=None, description="what the KV cache is to be stored in")


class Encoders(Record):
    """Parameters of what makes embeddings of images and sound for the text model."""

    split: int = Field(ge=0, description="shared by tensor-parallel ranks")
    whole: int = Field(ge=0, description="whole on every rank")

    @property
    def parameters(self) -> int:
        """All of them."""
        return self.split + self.whole


class LayerInputs(Record):
    """Gemma 3n and 4: what each layer takes of a token beside the hidden state.

    Gemma 3n has besides a bypass of low rank beside each attention (LAuReL), and predicts copies of
    the hidden state instead of computing them (AltUp).
    """

    size: int = Field(gt=0, description="values of one layer's input")
    vocab: int = Field(gt=0, description="rows of their embedding")
    bypass_rank: int | None = Field(default=None, gt=0)
    copies: int = Field(default=1, gt=0, description="of the hidden state")


class NgramInputs(Record):
    """Qwen4-Exp: what some layers add of the last few tokens, from tables of hashes."""

    rows: tuple[int, ...] = Field(min_length=1, description="of the table of each such layer")
    row_size: int = Field(gt=0, description="values of one row")
    rows_per_token: int = Field(gt=0)
    convolution: int = Field(gt=0, description="tokens that the convolution behind it spans")

    @property
    def values(self) -> int:
        """Values that a token takes of a table."""
        return self.row_size * self.rows_per_token


class Streams(Record):
    """Hyper-connections: each mixer and MLP reads a mixture of several residual streams."""

    count: int = Field(gt=1)
    mixed: bool = Field(default=True, description="with each other too (DeepSeek-V4); Hy4: not")
    merged: bool = Field(default=True, description="by weights in the end; False: their mean")
    rank: int | None = Field(
        default=None, gt=0, description="of gates that mix every value of them (Qwen4-Exp)"
    )


class LayerGroup(Record):
    """Equal layers that follow each other: what mixes tokens in them, and what stands behind it."""

    count: int = Field(gt=0)
    mixer: Mixer
    mlp: Mlp
    width: int | None = Field(default=None, gt=0, description="of its dense MLP, if others differ")


class ModelShape(Record):
    """A decoder-only transformer, as far as serving it is concerned."""

    id: Text = Field(description="hub id or the local folder's name")
    path: str | None = Field(default=None, description="local folder of the checkpoint")
    architecture: Text
    layers: int = Field(gt=0)
    groups: tuple[LayerGroup, ...] = Field(description="the layers, first to last")
    hidden: int = Field(gt=0, description="values of one token between layers")
    vocab: int = Field(gt=0, description="words")
    tied_embeddings: bool
    max_context: int = Field(gt=0, description="tokens of prompt and answer")
    dtype: Dtype = Field(description="native dtype of the checkpoint's unquantized tensors")
    attention: Attention | LatentAttention | CompressedAttention | SharedAttention
    windowed: Attention | None = Field(
        default=None, description="sliding layers whose heads differ from those of `attention`"
    )
    linear: LinearAttention | None = None
    indexer: Indexer | None = None
    mlp: DenseMlp | None = Field(default=None, description="None when every layer has experts")
    narrower_mlps: tuple[DenseMlp, ...] = Field(
        default=(), description="dense MLPs of other layers, if they are not all as wide as `mlp`"
    )
    experts: Experts | None = None
    parallel_blocks: bool = Field(
        default=False, description="attention and MLP have the same input, and one all-reduce"
    )
    streams: Streams | None = None
    depth_attention: int | None = Field(
        default=None, gt=0, description="layers whose sum later layers attend to (Kimi-K3)"
    )
    norms_per_layer: int = Field(default=2, ge=0)
    norms_by_block: bool = Field(
        default=False, description="one for each mixer and MLP that is there, not for each layer"
    )
    norm_gate_rank: int | None = Field(
        default=None, gt=0, description="of a gate on norms before mixers and experts (A.X K2)"
    )
    final_norm: bool = True
    norm_bias: bool = False
    embedding_norm: bool = Field(default=False, description="a norm behind the embedding (Bloom)")
    head_bias: bool = False
    learned_positions: int = Field(default=0, ge=0, description="rows of a position embedding")
    layer_inputs: LayerInputs | None = None
    ngrams: NgramInputs | None = None
    short_convolution: int | None = Field(
        default=None,
        gt=1,
        description="tokens that convolutions of K, of V and of what each mixer and MLP gives span",
    )
    quantization: Quantization | None = None
    encoders: Encoders | None = Field(default=None, description="of a multimodal model")
    uncounted: tuple[Text, ...] = Field(
        default=(), description="parts of a multimodal config.json whose parameters are not counted"
    )

    @model_validator(mode="after")
    def _every_layer_is_in_a_group(self) -> "ModelShape":
        if sum(group.count for group in self.groups) != self.layers:
            raise ValueError(f"the groups of layers do not have {self.layers} in sum")
        return self

    @property
    def attention_layers(self) -> int:
        """Layers with `attention`, in all of which a token's context costs KV."""
        others = sum(kind.layers or 0 for kind in (self.windowed, self.linear) if kind)
        stated = self.attention.layers
        return self.layers - others if stated is None else stated

    @property
    def mlps(self) -> tuple[tuple[DenseMlp, int], ...]:
        """The dense MLPs, the widest first, and how many layers have each."""
        narrower = tuple((mlp, mlp.layers or 0) for mlp in self.narrower_mlps)
        return ((self.mlp, self.mlp_layers), *narrower) if self.mlp else narrower

    @property
    def mlp_layers(self) -> int:
        """Layers with `mlp`."""
        if self.mlp is None:
            return 0
        return self.mlp.layers or self.layers - (self.experts.layers if self.experts else 0)


class ModelProfile(Provenance):
    """A bundled model: the facts of its published config.json, and names people use for it."""

    id: Text
    aliases: tuple[Text, ...] = ()
    same_config: tuple[Text, ...] = Field(
        default=(), description="other checkpoints whose config.json says the same here"
    )
    parameters: int = Field(gt=0, description="published parameter count, to check the shape by")
    config: dict[str, object] = Field(description="config.json, the keys that give the shape")
