"""Inputs of n-grams (Qwen4-Exp): what some layers add of the last few tokens."""

from collections.abc import Iterator
from dataclasses import replace

from tpdeploy.planner.model.tensor import Split, Tensor, TensorMaker
from tpdeploy.profiles.models.shape import NgramInputs


def ngram_tensors(inputs: NgramInputs, make: TensorMaker) -> Iterator[Tensor]:
    """Tables that ranks share, and what adds their rows to every stream, whole on each rank.

    A row is looked up, so a table costs memory alone. vLLM 0.32 keeps one in FP8 if the checkpoint
    does (Qwen4ExpPLEEmbeddingMethod in its models/qwen4_exp/common/ngram_embedding.py). The last
    tokens that the convolution saw are not counted: a few hundred KiB a sequence.
    """
    stored, n = make.shape.quantization, len(inputs.rows)
    for rows in inputs.rows:
        table = ("n-gram embedding", rows, inputs.row_size, Split.VOCAB)
        if stored and stored.method == "fp8":
            for part in make.linear(*table, 1):
                yield replace(part, matmul=False)
        else:
            yield replace(make.matrix(table[0], rows, Split.VOCAB), inputs=inputs.row_size)
    wide = make.hidden * (make.shape.streams.count if make.shape.streams else 1)
    for name, outputs in (("n-gram keys", wide), ("n-gram values", make.hidden)):
        yield from make.linear(name, outputs, inputs.values, Split.REPLICATED, n)
    yield make.vector("n-gram norms", 3 * wide, n)
    yield make.vector("n-gram convolution", wide, n, inputs=inputs.convolution)
