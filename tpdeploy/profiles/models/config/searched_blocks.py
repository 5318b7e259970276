"""Nemotron-NAS: a search left out attention or the MLP of some layers, and narrowed other MLPs."""

from dataclasses import dataclass
from math import ceil

from tpdeploy.profiles.models.config.keys import ConfigKeys

# Widths are rounded up to a multiple of this (_ffn_mult_to_intermediate_size of the checkpoints'
# own code, and of vLLM's nemotron_nas.py).
MULTIPLE = 256


@dataclass(frozen=True)
class Block:
    """One layer."""

    heads_per_group: int | None  # None: no attention
    width: int | None  # None: no MLP


def blocks_of(keys: ConfigKeys) -> list[Block]:
    """The layers that `block_configs` lists.

    Raises:
        InputError: a layer with a part that is not known here, or a list of the wrong length.
    """
    listed, layers = keys.value("block_configs"), keys.whole("num_hidden_layers")
    if not isinstance(listed, list) or len(listed) != layers:
        raise keys.refused("block_configs", f"need one for each of the {layers} layers")
    hidden = keys.whole("hidden_size")
    return [
        _block(ConfigKeys({"block": block}, keys.id, f"{keys.where}'s block_configs"), hidden)
        for block in listed
    ]


def kv_heads(keys: ConfigKeys) -> int:
    """The KV heads of every layer with attention.

    Raises:
        InputError: they differ from layer to layer.
    """
    heads = keys.whole("num_attention_heads")
    found = {block.heads_per_group for block in blocks_of(keys) if block.heads_per_group}
    if len(found) != 1 or heads % min(found):
        raise keys.refused(
            "block_configs", f"need one n_heads_in_group for all layers, a divisor of {heads}"
        )
    return heads // min(found)


def _block(keys: ConfigKeys, hidden: int) -> Block:
    block = keys.part("block")
    attention, mlp = (block.part("attention"), block.part("ffn")) if block else (None, None)
    if attention is None or mlp is None:
        raise keys.refused("block", "need its attention and its ffn")
    for part in (attention, mlp):
        if part.flag("replace_with_linear"):
            raise part.refused("replace_with_linear", "only false is known here")
    has_attention, has_mlp = not attention.flag("no_op"), not mlp.flag("no_op")
    return Block(
        heads_per_group=attention.whole("n_heads_in_group") if has_attention else None,
        width=_width(mlp, hidden) if has_mlp else None,
    )


def _width(mlp: ConfigKeys, hidden: int) -> int:
    factor = mlp.value("ffn_mult")
    if isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 < factor <= 1000:
        raise mlp.refused("ffn_mult", "need a number above 0, at most 1000")
    return max(1, ceil(int(2 * factor * hidden / 3) / MULTIPLE)) * MULTIPLE
