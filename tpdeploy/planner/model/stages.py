"""Stages: what each pipeline stage, and so each rank of it, holds of a model."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import accumulate
from math import ceil

from tpdeploy.planner.model.kv_cache import in_flight_parts, request_parts
from tpdeploy.planner.model.parts import Part, layers_with, parts_of
from tpdeploy.planner.model.sharding import head_problem, rank_bytes
from tpdeploy.planner.model.tensor import Tensor
from tpdeploy.planner.model.tensors import tensors
from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.profiles.models.shape import ModelShape
from tpdeploy.profiles.record import Dtype


@dataclass(frozen=True)
class Stage:
    """Some of a model's layers; the first stage also embeds, the last one has the head."""

    layers: int
    shares: tuple[tuple[Part, Fraction], ...]  # of what the model has of each part

    @property
    def first(self) -> bool:
        """Whether it embeds."""
        return self.share("before the first") > 0

    @property
    def last(self) -> bool:
        """Whether it has the head."""
        return self.share("behind the last") > 0

    def share(self, part: Part) -> Fraction:
        """What it has of the model's layers with `part`."""
        return dict(self.shares).get(part, Fraction(0))


@lru_cache(maxsize=64)
def stages(shape: ModelShape, pipeline: int) -> tuple[Stage, ...]:
    """The stages, dealt out as vLLM does (get_pp_indices in its distributed/utils.py).

    Every stage gets as many layers; what is left goes one each to the stages before the last.
    """
    each, left = divmod(shape.layers, pipeline)
    counts = [each + (pipeline - 1 - left <= n < pipeline - 1) for n in range(pipeline)]
    return tuple(
        _stage(shape, range(end - count, end))
        for count, end in zip(counts, accumulate(counts), strict=True)
    )


def _stage(shape: ModelShape, layers: range) -> Stage:
    shares: list[tuple[Part, Fraction]] = []
    for part in parts_of(shape):
        whole = layers_with(part, shape, range(shape.layers))
        if whole:
            shares.append((part, Fraction(layers_with(part, shape, layers), whole)))
    return Stage(len(layers), tuple(shares))


def stage_weight_bytes(shape: ModelShape, parallelism: Parallelism, stage: Stage) -> float:
    """Bytes of all weights on each rank of `stage`, as an engine holds them."""
    return _weight_bytes(shape, parallelism.with_replicas(1), stage)


# What is tried where nothing fits changes everything but the weights.
@lru_cache(maxsize=1024)
def _weight_bytes(shape: ModelShape, parallelism: Parallelism, stage: Stage) -> float:
    return encoder_bytes(shape, parallelism) + sum(
        tensors_on_rank(t, shape, parallelism, stage)
        * rank_bytes(t, parallelism.shards(routed=is_expert(t)))
        * padding(t, shape, parallelism)
        for t in tensors(shape)
        if t.stored
    )


def encoder_bytes(shape: ModelShape, parallelism: Parallelism) -> float:
    """Bytes of a multimodal model's encoders on each rank, in the model's own dtype.

    vLLM 0.32 splits their linear layers over the ranks of a tensor-parallel group, unless it is
    told --mm-encoder-tp-mode data, and has them on every stage (_mark_tower_model in its
    model_executor/models/interfaces.py does not ask which stage it is).
    """
    encoders = shape.encoders
    if encoders is None:
        return 0.0
    split = encoders.split / parallelism.shards(routed=False)
    return (split + encoders.whole) * shape.dtype.bits / 8


def tensors_on_rank(
    tensor: Tensor, shape: ModelShape, parallelism: Parallelism, stage: Stage
) -> float:
    """How many such tensors a rank of `stage` holds, whole or in part.

    Of what only some layers of a kind have (indexers, layers kept in the native dtype), a stage has
    its share.
    """
    if shape.tied_embeddings and stage.last and tensor.name == "embedding":
        return tensor.count
    held = float(tensor.count * stage.share(tensor.part))
    if not is_expert(tensor) or shape.experts is None:
        return held
    return held / shape.experts.count * ceil(shape.experts.count / parallelism.expert)


def stage_request_bytes(
    shape: ModelShape, stage: Stage, tokens: float, tp: int, dtype: Dtype
) -> float:
    """Bytes that one request of `tokens` of context holds on a rank of `stage`."""
    return _held_by(stage, request_parts(shape, tokens, tp, dtype))


def stage_in_flight_bytes(
    shape: ModelShape, stage: Stage, tokens: float, tp: int, dtype: Dtype
) -> float:
    """Bytes that windows hold on a rank of `stage` for `tokens` of unfinished steps."""
    return _held_by(stage, in_flight_parts(shape, tokens, tp, dtype))


def _held_by(stage: Stage, parts: Mapping[Part, float]) -> float:
    """What a stage has of bytes that are told by kind of layer."""
    return sum(bytes_ * float(stage.share(part)) for part, bytes_ in parts.items())


def padding(tensor: Tensor, shape: ModelShape, parallelism: Parallelism) -> float:
    """What kernels add to one such tensor, as a factor: MXFP4 experts are padded to whole tiles.

    vLLM 0.32 pads a rank's share of their width to 128 and the hidden size to 256 with its Marlin
    and TensorRT-LLM kernels (fused_moe/oracle/mxfp4.py): gpt-oss-120b takes 65.97 GiB instead of
    60.8 (vllm-project/vllm issue 23278), and 64.38 with its Triton ones (issue 33155).
    """
    stored, experts = shape.quantization, shape.experts
    if stored is None or stored.method != "mxfp4" or experts is None or not tensor.routed:
        return 1.0
    wide, inner = ceil(experts.intermediate / parallelism.expert_shards), shape.hidden
    return _rounded_up(wide, 128) / wide * _rounded_up(inner, 256) / inner


def is_expert(tensor: Tensor) -> bool:
    """Whether the tensor belongs to one of the routed experts, its biases included."""
    return tensor.name.startswith("expert ")


def split_problem(shape: ModelShape, parallelism: Parallelism) -> str | None:
    """Why no engine can split `shape` like this, in words; None if one can."""
    experts = shape.experts
    if parallelism.pipeline > shape.layers:
        return f"{shape.layers} layers cannot be dealt to {parallelism.pipeline} stages"
    if parallelism.data_parallel and experts is None:
        return "data-parallel attention of a model without experts is as many replicas"
    if parallelism.expert_parallel and experts is None:
        return "a model without experts has none to place whole"
    if experts and parallelism.expert > experts.count:
        return f"{experts.count} experts are fewer than {parallelism.expert} ranks"
    return head_problem(shape, parallelism.tensor, expert_shards=parallelism.expert_shards)


def _rounded_up(size: int, multiple: int) -> int:
    return ceil(size / multiple) * multiple
