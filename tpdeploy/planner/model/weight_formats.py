"""Storage: the bits that a linear layer's weight takes in a checkpoint, scales included."""

from math import ceil

from tpdeploy.profiles.models.shape import Quantization, StoredFormat


def linear_format(
    stored: Quantization | None, name: str, *, by_default: bool = True
) -> StoredFormat | None:
    """The format of the linear layer called `name`; None: the model's own dtype.

    `by_default` is false for what is only quantized where a checkpoint says so, as the head.
    """
    if stored is None:
        return None
    plain = name.removeprefix("windowed ").rpartition("-wide ")[2]
    for other in stored.others:
        if name in other.linears or plain in other.linears:
            return other
    return None if name in stored.excluded or not by_default else stored


def stored_bits(stored: StoredFormat, outputs: int, inputs: int) -> float:
    """Bits a value of an `outputs` x `inputs` weight, with its share of all scales."""
    shared = (
        _scales(stored, outputs, inputs) * stored.scale_bits
        + outputs * stored.output_scale_bits
        + inputs * stored.input_scale_bits
        + stored.tensor_scale_bits
    )
    return stored.weights.bits + shared / (outputs * inputs)


def _scales(stored: StoredFormat, outputs: int, inputs: int) -> int:
    """Scales of groups along the inputs, or of blocks; the last of a row may be shorter."""
    if stored.group_size is None:
        return 0
    if stored.output_block is None:
        return outputs * ceil(inputs / stored.group_size)
    columns = stored.input_block or stored.group_size // stored.output_block
    return ceil(outputs / stored.output_block) * ceil(inputs / columns)
