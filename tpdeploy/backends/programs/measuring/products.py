"""Reading memory, the products of layers, and what stands between them."""

from collections.abc import Callable
from functools import partial

import torch

from .machine import ALTERED, Machine, Run, uncached

# Inputs and outputs of the products, of layers of the models that are served there.
CPU_PRODUCTS = ((576, 1536), (1536, 576), (2048, 2048), (2048, 8192), (4096, 4096))
GPU_PRODUCTS = ((4096, 4096), (4096, 14336), (14336, 4096), (8192, 8192), (8192, 28672))
CPU_ROWS = (1, 4, 16, 64, 256, 1024)
GPU_ROWS = (1, 16, 64, 256, 1024, 4096)
CPU_FLOPS = 1e10  # of the largest product: a second where BF16 is emulated, 10 ms on many cores
FEW_ROWS = 64  # with more, a product is bound by arithmetic, and one weight will do
# Hidden size, width of the MLP, query heads, KV heads, head size.
LAYERS = ((576, 1536, 9, 3, 64), (2048, 8192, 32, 8, 64), (4096, 14336, 32, 8, 128))
SMALL_ROWS = (1, 16, 256, 1024)
CPU_READ_BYTES = 256 * 2**20
GPU_READ_BYTES = 2**30  # of an H200: 4.2 TB/s, where 256 MiB reach 3.9


def read(machine: Machine) -> None:
    """Reading memory: the sum of more than any cache holds."""
    size = CPU_READ_BYTES if machine.on_cpu else GPU_READ_BYTES
    values = torch.ones(size // 4, device=machine.device)
    found = machine.time([values.sum])
    machine.tell("read", shape={"bytes": size}, kernel="torch sum", **found)


def products(machine: Machine) -> None:
    """Matrix products of `rows` tokens with a layer's weights."""
    shapes, each = (CPU_PRODUCTS, CPU_ROWS) if machine.on_cpu else (GPU_PRODUCTS, GPU_ROWS)
    for inputs, outputs in shapes:
        runs, kernel = _layers(machine, inputs, outputs, uncached(inputs * outputs * 2))
        for rows in each:
            if machine.on_cpu and 2 * rows * inputs * outputs > CPU_FLOPS:
                continue
            given, used = machine.values(rows, inputs), runs if rows <= FEW_ROWS else runs[:1]
            found = machine.time([partial(run, given) for run in used])
            shape = {"rows": rows, "inputs": inputs, "outputs": outputs}
            machine.tell("product", shape=shape, kernel=kernel, **found)


def _layers(
    machine: Machine, inputs: int, outputs: int, copies: int
) -> tuple[list[Callable[[torch.Tensor], torch.Tensor]], str]:
    """Layers without bias as the engine runs them, and what they are called."""
    weights = [machine.values(outputs, inputs) for _ in range(copies)]
    if machine.on_cpu:
        try:
            return [_vllm_layer(weight) for weight in weights], "vLLM"
        except ALTERED as error:
            machine.remark("vLLM's products", error)
    return [partial(_linear, weight) for weight in weights], "torch linear"


def _linear(weight: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.linear(given, weight)


def _vllm_layer(weight: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """A layer with the kernel that vLLM chooses for its shape on this CPU."""
    from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm

    layer = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    layer.weight = torch.nn.Parameter(weight, requires_grad=False)
    dispatch_cpu_unquantized_gemm(layer, remove_weight=True)
    return lambda given: layer.cpu_linear(given, layer.weight, None)


def small(machine: Machine) -> None:
    """What stands between the products of a layer: two norms, the rotation, the activation."""
    for hidden, wide, heads, kv_heads, size in LAYERS:
        for rows in SMALL_ROWS:
            given = [machine.values(rows, n) for n in (hidden, hidden, 2 * wide)]
            turned = [machine.values(rows, n * size) for n in (heads, kv_heads)]
            run, kernel = _small(machine, hidden, size, given, turned)
            shape = {"rows": rows, "hidden": hidden, "wide": wide}
            machine.tell("small", shape=shape, kernel=kernel, **machine.time([run]))


def _small(
    machine: Machine,
    hidden: int,
    size: int,
    given: list[torch.Tensor],
    turned: list[torch.Tensor],
) -> tuple[Run, str]:
    try:
        return _vllm_small(hidden, size, given, turned), "vLLM"
    except ALTERED as error:
        machine.remark("vLLM's norms and activations", error)
    weight = machine.values(hidden)
    values, rest, both = given
    gate, up = both.chunk(2, dim=-1)

    def run() -> None:
        for _ in range(2):
            torch.nn.functional.rms_norm(values + rest, (hidden,), weight)
        for states in turned:
            states * states + states * states  # as much as a rotation computes
        torch.nn.functional.silu(gate) * up

    return run, "torch"


def _vllm_small(
    hidden: int, size: int, given: list[torch.Tensor], turned: list[torch.Tensor]
) -> Run:
    """The same as vLLM's model code runs them."""
    from vllm.config import VllmConfig, set_current_vllm_config
    from vllm.model_executor.layers.activation import SiluAndMul
    from vllm.model_executor.layers.layernorm import RMSNorm
    from vllm.model_executor.layers.rotary_embedding import get_rope

    values, rest, both = given
    with set_current_vllm_config(VllmConfig()):
        torch.set_default_dtype(values.dtype)
        norm, activation = RMSNorm(hidden), SiluAndMul()
        way = {"rope_type": "default", "rope_theta": 10000.0}
        rotation = get_rope(size, max_position=8192, rope_parameters=way)
        torch.set_default_dtype(torch.float32)
    positions = torch.arange(values.shape[0])

    def run() -> None:
        norm(values, rest)
        rotation(positions, *turned)
        norm(values, rest)
        activation(both)

    run()
    return run
