"""Stages: what each pipeline stage, and so each rank of it, holds of a model."""

from dataclasses import dataclass
from math import ceil

from tpdeploy.planner.model.sharding import head_problem, rank_bytes
from tpdeploy.planner.model.tensors import Tensor, tensors
from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.profiles.models.shape import ModelShape

ON_FIRST = frozenset({"embedding", "positions"})
ON_LAST = frozenset({"final norm", "head", "head bias"})


@dataclass(frozen=True)
class Stage:
    """Some of a model's layers; the first stage also embeds, the last one has the head."""

    layers: int
    first: bool
    last: bool


def stages(shape: ModelShape, pipeline: int) -> tuple[Stage, ...]:
    """The stages, dealt out as vLLM does (get_pp_indices in its distributed/utils.py).

    Every stage gets as many layers; what is left goes one each to the stages before the last.
    """
    each, left = divmod(shape.layers, pipeline)
    return tuple(
        Stage(
            layers=each + (pipeline - 1 - left <= number < pipeline - 1),
            first=number == 0,
            last=number == pipeline - 1,
        )
        for number in range(pipeline)
    )


def stage_weight_bytes(shape: ModelShape, parallelism: Parallelism, stage: Stage) -> float:
    """Bytes of all weights on each rank of `stage`, as an engine holds them."""
    return sum(
        tensors_on_rank(t, shape, parallelism, stage)
        * rank_bytes(t, parallelism.shards(routed=is_expert(t)))
        * padding(t, shape, parallelism)
        for t in tensors(shape)
        if t.stored
    )


def tensors_on_rank(
    tensor: Tensor, shape: ModelShape, parallelism: Parallelism, stage: Stage
) -> float:
    """How many such tensors a rank of `stage` holds, whole or in part.

    Which layers have which parts is not known here: a stage has its share of those that not every
    layer has, rounded up for experts.
    """
    if tensor.name in ON_LAST:
        return tensor.count if stage.last else 0
    if tensor.name in ON_FIRST:
        is_head_too = shape.tied_embeddings and stage.last and tensor.name == "embedding"
        return tensor.count if stage.first or is_head_too else 0
    if not is_expert(tensor) or shape.experts is None:
        return tensor.count * stage.layers / shape.layers
    layers = ceil(tensor.count / shape.experts.count * stage.layers / shape.layers)
    return layers * ceil(shape.experts.count / parallelism.expert)


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
