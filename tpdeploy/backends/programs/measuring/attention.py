"""Attention of prompts and of new tokens, by the engine's kernels or PyTorch's."""

from functools import partial
from itertools import product

import torch

from .machine import ALTERED, Machine, Run, uncached

# Query heads, KV heads, head size.
HEADS = ((9, 3, 64), (32, 8, 128))
PROMPTS = (128, 512, 2048)
CONTEXTS = ((1, 512), (1, 2048), (8, 1024), (16, 2048))  # sequences, tokens of each
BLOCK = 128  # tokens of a block of vLLM's KV cache on CPUs
GPU_BLOCK = 16
HOPPER = 9  # its compute capability: FlashAttention 3 runs there alone


def prompts(machine: Machine) -> None:
    """Causal attention of the tokens of one prompt."""
    for (heads, kv_heads, size), tokens in product(HEADS, PROMPTS):
        query = machine.values(1, heads, tokens, size)
        runs, kernel = _attention(machine, query, kv_heads, tokens, copies=1)
        shape = {"heads": heads, "kv_heads": kv_heads, "head_size": size, "tokens": tokens}
        machine.tell("prompt", shape=shape, kernel=kernel, **machine.time(runs))


def contexts(machine: Machine) -> None:
    """Attention of one new token of each sequence to its context."""
    for (heads, kv_heads, size), (sequences, tokens) in product(HEADS, CONTEXTS):
        query = machine.values(sequences, heads, 1, size)
        copies = uncached(sequences * kv_heads * tokens * size * 4)
        runs, kernel = _attention(machine, query, kv_heads, tokens, copies)
        shape = {"heads": heads, "kv_heads": kv_heads, "head_size": size, "tokens": tokens}
        shape["sequences"] = sequences
        machine.tell("context", shape=shape, kernel=kernel, **machine.time(runs))


def _attention(
    machine: Machine, query: torch.Tensor, kv_heads: int, tokens: int, copies: int
) -> tuple[list[Run], str]:
    """Attention of `query` (sequences, heads, last tokens, size) to `tokens`, on several caches."""
    sequences, _, asked, size = query.shape
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
