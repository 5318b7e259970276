"""Parameters of an encoder, by what tensor parallelism does to them."""

from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Parameters:
    """Parameters that tensor-parallel ranks share, and those that each rank holds whole."""

    split: int = 0
    whole: int = 0

    def __add__(self, other: "Parameters") -> "Parameters":
        return Parameters(self.split + other.split, self.whole + other.whole)

    def __mul__(self, times: int) -> "Parameters":
        return Parameters(self.split * times, self.whole * times)


def column(outputs: int, inputs: int, *, bias: bool = True) -> Parameters:
    """A linear layer whose outputs the ranks share."""
    return Parameters(split=outputs * (inputs + bias))


def row(outputs: int, inputs: int, *, bias: bool = True) -> Parameters:
    """A linear layer whose inputs the ranks share."""
    return Parameters(split=outputs * inputs, whole=outputs * bias)


def linear(outputs: int, inputs: int, *, bias: bool = True) -> Parameters:
    """A linear layer, or a convolution, that each rank holds whole."""
    return Parameters(whole=outputs * (inputs + bias))


def linears(*sizes: int, bias: bool = True) -> Parameters:
    """Linear layers that each rank holds whole, from each of `sizes` to the next."""
    layers = (linear(outputs, inputs, bias=bias) for inputs, outputs in pairwise(sizes))
    return sum(layers, Parameters())


def norm(size: int, *, bias: bool = True) -> Parameters:
    """LayerNorm; RMSNorm has no bias."""
    return Parameters(whole=size * (1 + bias))


def attention(hidden: int, *, biases: int = 4, keys: int | None = None) -> Parameters:
    """Q, K, V and output of `hidden` values, K and V of `keys` where they have fewer heads.

    `biases`: of all four, of all but K (3), of the output (1) or of none.
    """
    kv = hidden if keys is None else keys
    of_qkv = {4: hidden + 2 * kv, 3: hidden + kv, 1: 0, 0: 0}[biases]
    inward = Parameters(split=hidden * (hidden + 2 * kv) + of_qkv)
    return inward + row(hidden, hidden, bias=biases in {1, 3, 4})


def mlp(hidden: int, wide: int, *, gated: bool = False, bias: bool = True) -> Parameters:
    """Up and down, and a gate."""
    return column(wide, hidden, bias=bias) * (1 + gated) + row(hidden, wide, bias=bias)


def block(hidden: int, wide: int) -> Parameters:
    """A plain layer: attention and an MLP with all their biases, behind a LayerNorm each."""
    return attention(hidden) + mlp(hidden, wide) + norm(hidden) * 2
