"""What no serving of a model can beat: its bytes over the bandwidth, its FLOPs over the peak."""

from dataclasses import dataclass

from tests.properties.plans import Case
from tpdeploy.planner.model.precision import served_shape
from tpdeploy.planner.model.tensor import Tensor
from tpdeploy.planner.model.tensors import tensors
from tpdeploy.profiles.machine.gpus_spec import parse_gpus
from tpdeploy.profiles.models.library import load_model


@dataclass(frozen=True)
class Bounds:
    """Of one token through the whole model, and of one device."""

    bytes_per_step: float  # weights that a decode step reads at least, on all ranks together
    flops_per_token: float  # of a prompt or an answer, without attention and without logits
    bytes_per_s: float
    flops_per_s: float  # in the quickest number format


def bounds_of(case: Case) -> Bounds:
    """Bounds of the model and the GPUs of a case."""
    cluster = parse_gpus(case.gpus, case.option("--interconnect"))
    device = cluster.accelerator
    stored = load_model(case.model)
    shape = served_shape(stored, device, None, case.option("--quantization"))
    per_token = shape.experts.per_token / shape.experts.count if shape.experts else 1.0

    def of_one(tensor: Tensor) -> float:
        return tensor.count * tensor.elements * (per_token if tensor.routed else 1.0)

    products = [t for t in tensors(shape) if t.matmul]
    return Bounds(
        bytes_per_step=sum(of_one(t) * t.bits / 8 for t in products),
        flops_per_token=2 * sum(of_one(t) for t in products if not t.head),
        bytes_per_s=device.peaks.memory_bytes_per_s,
        flops_per_s=max(device.peaks.flops_per_s.values()),
    )
