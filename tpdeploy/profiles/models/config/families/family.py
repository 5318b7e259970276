"""Family: what an architecture implies that its config.json does not say."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

# True or False for every model of the family, or the config key that decides.
Switch = bool | str


@dataclass(frozen=True)
class Family:
    """The structure of one architecture."""

    attention: Literal["grouped", "latent", "compressed", "shared"] = "grouped"
    linear: Literal["none", "delta", "kda", "mamba", "mamba2", "convolution"] = "none"
    # What tells the layers with full attention from recurrent ones: each has both, or one in a few
    # ("interval": the last of each; "period": at an offset), or they are listed.
    hybrid: Literal["interval", "period", "listed", "both"] = "interval"
    indexer: Literal["none", "latent", "pooled", "hidden", "compressed", "averaged"] = "none"
    # Layers with an indexer of their own, where none are listed: the first, and one in so many
    # of the others (Hy4).
    indexed_every: int = 1
    blocks: bool = False  # a layer is one block: a mixer or an MLP
    recurrent_alone: bool = False  # every layer is a recurrent mixer, without an MLP (Mamba)
    halves: bool = False  # a layer is two of attention and MLP, the first with experts (LongCat)
    searched: bool = False  # block_configs says of each layer what it has, and how wide it is
    experts: Literal[
        "none",
        "mixtral",
        "qwen",
        "deepseek",
        "gpt-oss",
        "llama4",
        "gemma4",
        "ernie",
        "jamba",
        "granite",
        "hunyuan",
        "listed",
    ] = "none"
    gated_experts: bool = True
    shared_gate: bool = False
    experts_norm: bool = False
    qkv_bias: Switch = False
    output_bias: Switch = False
    mlp_bias: Switch = False
    router_bias: bool = False
    head_bias: Switch = False
    embedding_norm: bool = False
    norm_bias: bool = False
    qk_norm: Literal["none", "head", "heads", "projection"] = "none"
    qk_norm_key: str | None = None  # a key that switches qk_norm
    # "one": a single one where multi_query is true; "falcon": in the first Falcons; "groups":
    # multi_query_group_num where multi_query_attention is true.
    kv_heads: Literal["stated", "one", "falcon", "groups"] = "stated"
    # Hyper-connections that mix the streams and merge them in the end, leave them apart between
    # layers (Hy4), or give their mean in the end (GLM-5.3-Flash).
    streams: Literal["mixed", "apart", "averaged"] = "mixed"
    output_gate: Switch = False
    head_gate: bool = False
    relative: bool = False  # biases by distance, in place of rotary positions (Inkling)
    latent_gate: bool = False  # of MLA, from the latent of Q (A.X K2)
    sinks: bool = False
    # Keys of windowed layers whose heads differ: "swa_" before a key, Gemma 4's for global ones,
    # Step's for windowed ones, or the heads of each layer listed (Laguna).
    other_heads: Literal["none", "swa", "global", "sliding", "listed"] = "none"
    parallel_blocks: Switch = False
    norms_per_layer: int = 2
    post_norms: str | None = None  # a key that adds a norm behind each mixer and MLP
    final_norm: bool = True
    gated: bool = True
    mlp_factor: int | None = None  # times the hidden size, where no width is stated
    adjusted_mlp: bool = False  # two thirds of the stated width, rounded up (LFM2)
    extra_positions: int | None = None  # rows of the position table beyond the context
    activation_parameters: int = 0  # of each dense MLP's activation
    scaled_mlps: bool = False  # one scale each, and shared experts that the router scores (Inkling)
    # "leading": the first of each four layers sees everything; "pattern": the last of each.
    # "listed": where layer_types says so, and nowhere else.
    windows: Literal[
        "none",
        "all",
        "alternate",
        "leading",
        "pattern",
        "flagged",
        "chunked",
        "listed",
    ] = "none"
    # What transformers takes for keys that published configs leave out.
    defaults: Mapping[str, object] = field(default_factory=dict)
    # Keys with the only value that is known here.
    only: Mapping[str, object] = field(default_factory=dict)
    # What this family calls a key that most call otherwise.
    renamed: Mapping[str, str] = field(default_factory=dict)
    # Parts of the config whose keys are read as if they stood beside it.
    lifted: tuple[str, ...] = ()
    # Paths of linear layers in its checkpoints that differ from most (see quantization_config).
    modules: Mapping[str, str] = field(default_factory=dict)
    # Modules that stay in the native dtype though no list of a checkpoint says so.
    unquantized: tuple[str, ...] = ()
