"""Measures what kernels reach on this machine: python measure.py JOB.

Runs inside an engine's environment and imports nothing of tpdeploy. JOB is JSON: `cpus`, the cores
of each share, or `devices`, GPU numbers; `seconds` for each figure; `distribution`, the engine's
package. Every share or GPU works at once, as in serving; the first prints what it found, a JSON
object a line. The engine's own kernels are taken where they can be called alone (vLLM's products on
CPUs, its attention on both), else PyTorch's; each line names its own. On GPUs what is timed are
replays of a CUDA graph, as in serving: launched one by one, short kernels cost what the CPU needs.
"""

import json
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from pathlib import Path
from statistics import quantiles
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

Run = Callable[[], object]

# What calling an engine's kernels raises where another release has them otherwise, or none has.
ALTERED = (ImportError, AttributeError, TypeError, RuntimeError)

# Inputs and outputs of the products, of layers of the models that are served there.
CPU_PRODUCTS = ((576, 1536), (1536, 576), (2048, 2048), (2048, 8192), (4096, 4096))
GPU_PRODUCTS = ((4096, 4096), (4096, 14336), (14336, 4096), (8192, 8192), (8192, 28672))
CPU_ROWS = (1, 4, 16, 64, 256, 1024)
GPU_ROWS = (1, 16, 64, 256, 1024, 4096)
# Hidden size, width of the MLP, query heads, KV heads, head size.
LAYERS = ((576, 1536, 9, 3, 64), (2048, 8192, 32, 8, 64), (4096, 14336, 32, 8, 128))
SMALL_ROWS = (1, 16, 256, 1024)
# Query heads, KV heads, head size.
HEADS = ((9, 3, 64), (32, 8, 128))
PROMPTS = (128, 512, 2048)
CONTEXTS = ((1, 512), (1, 2048), (8, 1024), (16, 2048))  # sequences, tokens of each
MESSAGES = tuple(4**n for n in range(6, 13))  # bytes: 4 KiB to 16 MiB
CPU_READ_BYTES = 256 * 2**20
GPU_READ_BYTES = 2**30  # of an H200: 4.2 TB/s, where 256 MiB reach 3.9
# Weights of a model are read once a step: copies are used in turn, so that no cache holds them.
UNCACHED_BYTES = 192 * 2**20
FEW_ROWS = 64  # with more, a product is bound by arithmetic, and one weight will do
MOST_COPIES = 128
LEAST_REPEATS = 5
# What else a machine does slows it for a while: what was slow then is quicker in another pass.
PASSES = 2
BLOCK = 128  # tokens of a block of vLLM's KV cache on CPUs
GPU_BLOCK = 16
HOPPER = 9  # its compute capability: FlashAttention 3 runs there alone
LEAST_IN_GRAPH = 16  # kernels, so that the ends of a replay do not count
REDUCTIONS = 20  # in a row between two looks at the clock


@dataclass
class Machine:
    """One share of a CPU, or one GPU."""

    rank: int
    ranks: int
    device: torch.device
    seconds: float
    dtype: torch.dtype

    @property
    def on_cpu(self) -> bool:
        """Whether it is a share of a CPU."""
        return self.device.type == "cpu"

    def tell(self, kind: str, **figures: object) -> None:
        """Print one object, on the first rank only."""
        if self.rank == 0:
            print(json.dumps({"kind": kind, **figures}), flush=True)

    def remark(self, what: str, error: Exception) -> None:
        """Say that `what` could not be measured, and PyTorch's is instead."""
        reason = str(error).partition("\n")[0]
        self.tell("remark", text=f"{what} cannot be called here: {type(error).__name__}: {reason}")

    def time(self, runs: Sequence[Run]) -> dict[str, float]:
        """Median seconds of one of `runs`, all done in turn, and their spread.

        All ranks begin together. The spread is the middle half's width over the median.
        """
        turn = partial(_turn, runs) if self.on_cpu else _replay(runs)
        dist.barrier()
        turn()
        taken = [turn()]
        end = time.perf_counter() + self.seconds
        while time.perf_counter() < end or len(taken) < LEAST_REPEATS:
            taken.append(turn())
        low, middle, high = quantiles(taken, n=4)
        return {"seconds": middle / len(runs), "spread": (high - low) / middle}

    def values(self, *shape: int) -> torch.Tensor:
        """Random values in the dtype of serving."""
        return torch.randn(*shape, device=self.device).to(self.dtype)


def _turn(runs: Sequence[Run]) -> float:
    """Seconds of all of `runs`, one after the other."""
    begun = time.perf_counter()
    for run in runs:
        run()
    return time.perf_counter() - begun


def _replay(runs: Sequence[Run]) -> Callable[[], float]:
    """What tells the GPU's seconds of all of `runs`: a graph of them is replayed."""
    times = max(1, LEAST_IN_GRAPH // len(runs))
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):  # what is done once, as choosing a kernel, is not captured
        _turn(runs)
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    # NCCL's own thread looks at its events meanwhile.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        for _ in range(times):
            _turn(runs)

    def turn() -> float:
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        return begin.elapsed_time(end) / 1e3 / times

    return turn


def main(job: dict[str, Any]) -> None:
    """Measure on every share or GPU at once."""
    os.environ.update(VLLM_LOGGING_LEVEL="ERROR", VLLM_NO_USAGE_STATS="1", DO_NOT_TRACK="1")
    ranks = len(job["cpus"] or job["devices"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(work, args=(ranks, port, job), nprocs=ranks)  # type: ignore[no-untyped-call]


def work(rank: int, ranks: int, port: int, job: dict[str, Any]) -> None:
    """One rank's part of everything."""
    machine = _machine(rank, ranks, job)
    backend = "gloo" if machine.on_cpu else "nccl"
    meeting = f"tcp://127.0.0.1:{port}"
    dist.init_process_group(backend, init_method=meeting, rank=rank, world_size=ranks)
    with torch.inference_mode():
        machine.tell("device", **_identity(machine, job["distribution"]))
        for _ in range(PASSES):
            read(machine)
            products(machine)
            if machine.on_cpu:  # on GPUs engines run them fused, or in graphs
                small(machine)
            prompts(machine)
            contexts(machine)
        reductions(machine, port)
    dist.destroy_process_group()


def _machine(rank: int, ranks: int, job: dict[str, Any]) -> Machine:
    if job["cpus"]:
        cores = _cores(job["cpus"][rank])
        os.sched_setaffinity(0, cores)
        torch.set_num_threads(len(cores))
        return Machine(rank, ranks, torch.device("cpu"), job["seconds"], torch.bfloat16)
    device = torch.device("cuda", job["devices"][rank])
    torch.cuda.set_device(device)
    wide = torch.cuda.get_device_capability(device) >= (8, 0)
    dtype = torch.bfloat16 if wide else torch.float16
    return Machine(rank, ranks, device, job["seconds"], dtype)


def _cores(text: str) -> set[int]:
    """The cores of a list such as `0-3,8`."""
    spans = [part.partition("-") for part in text.split(",")]
    return {core for first, _, last in spans for core in range(int(first), int(last or first) + 1)}


def _identity(machine: Machine, distribution: str) -> dict[str, object]:
    versions = {"torch": torch.__version__}
    with suppress(PackageNotFoundError):
        versions = {distribution: version(distribution), **versions}
    if machine.on_cpu:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        return {"name": names[0] if names else "CPU", "versions": versions}
    versions["cuda"] = str(torch.version.cuda)
    return {"name": torch.cuda.get_device_name(machine.device), "versions": versions}


def read(machine: Machine) -> None:
    """Reading memory: the sum of more than any cache holds."""
    size = CPU_READ_BYTES if machine.on_cpu else GPU_READ_BYTES
    values = torch.ones(size // 4, device=machine.device)
    found = machine.time([values.sum])
    machine.tell("read", shape={"bytes": size}, kernel="torch sum", **found)


def products(machine: Machine) -> None:
    """Matrix products of `rows` tokens with a layer's weights."""
    shapes = product(CPU_PRODUCTS, CPU_ROWS) if machine.on_cpu else product(GPU_PRODUCTS, GPU_ROWS)
    for (inputs, outputs), rows in shapes:
        given = machine.values(rows, inputs)
        runs, kernel = _layers(machine, inputs, outputs, _copies(inputs * outputs * 2, rows))
        found = machine.time([partial(run, given) for run in runs])
        shape = {"rows": rows, "inputs": inputs, "outputs": outputs}
        machine.tell("product", shape=shape, kernel=kernel, **found)


def _copies(weight_bytes: int, rows: int) -> int:
    return min(MOST_COPIES, 1 + UNCACHED_BYTES // weight_bytes) if rows <= FEW_ROWS else 1


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


def prompts(machine: Machine) -> None:
    """Causal attention of the tokens of one prompt."""
    for (heads, kv_heads, size), tokens in product(HEADS, PROMPTS):
        query = machine.values(1, heads, tokens, size)
        runs, kernel = _attention(machine, query, kv_heads, tokens)
        shape = {"heads": heads, "kv_heads": kv_heads, "head_size": size, "tokens": tokens}
        machine.tell("prompt", shape=shape, kernel=kernel, **machine.time(runs[:1]))


def contexts(machine: Machine) -> None:
    """Attention of one new token of each sequence to its context."""
    for (heads, kv_heads, size), (sequences, tokens) in product(HEADS, CONTEXTS):
        query = machine.values(sequences, heads, 1, size)
        runs, kernel = _attention(machine, query, kv_heads, tokens)
        shape = {"heads": heads, "kv_heads": kv_heads, "head_size": size, "tokens": tokens}
        shape["sequences"] = sequences
        machine.tell("context", shape=shape, kernel=kernel, **machine.time(runs))


def _attention(
    machine: Machine, query: torch.Tensor, kv_heads: int, tokens: int
) -> tuple[list[Run], str]:
    """Attention of `query` (sequences, heads, last tokens, size) to `tokens`, on several caches."""
    sequences, _, asked, size = query.shape
    copies = min(MOST_COPIES, 1 + UNCACHED_BYTES // (sequences * kv_heads * tokens * size * 4))
    attention = _vllm_cpu_attention if machine.on_cpu else _vllm_gpu_attention
    try:
        return attention(machine, query, kv_heads, tokens, copies), "vLLM"
    except ALTERED as error:
        machine.remark("vLLM's attention", error)
    keys = [machine.values(2, sequences, kv_heads, tokens, size) for _ in range(copies)]
    attend = partial(
        torch.nn.functional.scaled_dot_product_attention, is_causal=asked > 1, enable_gqa=True
    )
    return [partial(attend, query, key, value) for key, value in keys], "torch attention"


def _vllm_gpu_attention(
    machine: Machine, query: torch.Tensor, kv_heads: int, tokens: int, copies: int
) -> list[Run]:
    """FlashAttention over vLLM's paged cache, in the version that vLLM takes on this GPU."""
    from vllm.vllm_flash_attn import flash_attn_varlen_func

    sequences, heads, asked, size = query.shape
    blocks = -(-tokens // GPU_BLOCK)
    whole = partial(torch.arange, dtype=torch.int32, device=machine.device)
    major, _ = torch.cuda.get_device_capability(machine.device)
    attend = partial(
        flash_attn_varlen_func,
        query.transpose(1, 2).reshape(sequences * asked, heads, size),
        cu_seqlens_q=whole(sequences + 1) * asked,
        max_seqlen_q=asked,
        seqused_k=torch.full_like(whole(sequences), tokens),
        max_seqlen_k=tokens,
        softmax_scale=size**-0.5,
        causal=True,
        block_table=whole(sequences * blocks).view(sequences, blocks),
        fa_version=3 if major == HOPPER else 2,
    )
    shape = (2, sequences * blocks, GPU_BLOCK, kv_heads, size)
    caches = [machine.values(*shape) for _ in range(copies)]
    runs: list[Run] = [partial(attend, k=keys, v=values) for keys, values in caches]
    runs[0]()
    return runs


def _vllm_cpu_attention(
    machine: Machine, query: torch.Tensor, kv_heads: int, tokens: int, copies: int
) -> list[Run]:
    """The paged attention of vLLM's CPU build."""
    from vllm import _custom_ops as ops
    from vllm.v1.attention.backends.cpu_attn import _get_attn_isa

    sequences, heads, asked, size = query.shape
    blocks = -(-tokens // BLOCK)
    table = torch.arange(sequences * blocks, dtype=torch.int32).view(sequences, blocks)
    lengths = torch.full((sequences,), tokens, dtype=torch.int32)
    starts = torch.arange(sequences + 1, dtype=torch.int32) * asked
    isa = _get_attn_isa(machine.dtype, BLOCK, size)
    schedule = ops.cpu_attn_get_scheduler_metadata(
        num_reqs=sequences,
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=size,
        seq_lens=lengths,
        dtype=machine.dtype,
        query_start_loc=starts,
        causal=True,
        sliding_window_size=-1,
        isa=isa,
        enable_kv_split=True,
    )
    given = query.transpose(1, 2).reshape(sequences * asked, heads, size).contiguous()
    answer = torch.empty_like(given)

    def attend(cache: torch.Tensor) -> None:
        keys, values = cache.chunk(2, dim=2)
        ops.cpu_attention_with_kv_cache(
            query=given,
            key_cache=keys,
            value_cache=values,
            output=answer,
            query_start_loc=starts,
            seq_lens=lengths,
            scale=size**-0.5,
            causal=True,
            alibi_slopes=None,
            sliding_window=-1,
            block_table=table,
            softcap=0.0,
            scheduler_metadata=schedule,
            s_aux=None,
        )

    shape = (sequences * blocks, kv_heads, 2 * BLOCK, size)
    runs: list[Run] = [partial(attend, machine.values(*shape)) for _ in range(copies)]
    runs[0]()
    return runs


def reductions(machine: Machine, number: int) -> None:
    """All-reduces of the first 2, 4, 8 … ranks, and of all."""
    widths = [width for width in (2, 4, 8, 16) if width < machine.ranks]
    for width in (*widths, machine.ranks) if machine.ranks > 1 else ():
        group = dist.new_group(list(range(width)))
        if machine.rank < width:
            _reduce(machine, group, width, f"tpdeploy-{number}-{width}")
        dist.barrier()


def _reduce(machine: Machine, group: Any, width: int, name: str) -> None:
    reduce, algorithm = _reducer(machine, group, width, name)
    for size in MESSAGES:
        values = machine.values(size // 2)
        taken = []
        for _ in range(LEAST_REPEATS + 2):
            dist.barrier(group)
            begun = time.perf_counter()
            for _ in range(REDUCTIONS):
                reduce(values)
            if not machine.on_cpu:
                torch.cuda.synchronize(machine.device)
            taken.append((time.perf_counter() - begun) / REDUCTIONS)
        low, middle, high = quantiles(taken[2:], n=4)
        found = {"seconds": middle, "spread": (high - low) / middle}
        machine.tell("all-reduce", shape={"group": width, "bytes": size}, kernel=algorithm, **found)


def _reducer(
    machine: Machine, group: Any, width: int, name: str
) -> tuple[Callable[[torch.Tensor], object], str]:
    """The all-reduce of the engine, and its algorithm."""
    if not machine.on_cpu:
        return partial(dist.all_reduce, group=group), "nccl"
    try:
        import vllm._custom_ops  # noqa: F401 - it loads the kernels

        kernels = torch.ops._C
        # Builds for CPUs without AVX-512 have none, and the engine takes PyTorch's as well.
        if not hasattr(kernels, "init_shm_manager"):
            return partial(dist.all_reduce, group=group), "gloo"
        threads = torch.get_num_threads()
        handle = kernels.init_shm_manager(name, width, machine.rank, threads)
        dist.barrier(group)
        kernels.join_shm_manager(handle, name)
        dist.barrier(group)
    except ALTERED as error:
        machine.remark("vLLM's all-reduce", error)
        return partial(dist.all_reduce, group=group), "gloo"
    return partial(kernels.shm_allreduce, handle), "shared-memory"


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
