"""What an engine takes of a device beside weights and KV cache, measured on vLLM.

From start-up logs of vLLM 0.18 and 0.19 with 28 models on H100-SXM-80GB
(llm-d-incubation/llm-d-planner@3fdf824d, accuracy/accuracy_report.md and accuracy/results/v0.19.0),
started with 8,192 tokens and 1,024 sequences per step; `tests/planner/test_memory.py` holds the
planner to those logs. On other devices, and for other engines, they are estimates.
"""

from tpdeploy.planner.engine_rules import EngineOverheads

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30

MEASURED_ON_VLLM = EngineOverheads(
    # Memory outside PyTorch that profiling adds on one GPU: 0.24 to 0.27 GiB.
    library_bytes=256 * MIB,
    # What it adds beyond that at TP 2 and 4: 1.81 to 1.96 GiB, for models of 7B to 72B alike. These
    # are the fused all-reduce's buffers, which vLLM has on Hopper and data-center Blackwell;
    # without them nothing is added (RTX 4090 and 3090: 0.25 and 0.20 GiB in all,
    # vllm-project/vllm issue 13061 and pull request 14447), and with pipeline stages alone neither.
    fused_all_reduce_bytes=1920 * MIB,
    fused_all_reduce_from=9.0,
    fused_all_reduce_below=12.0,
    # Graph pools of 0.51 to 1.85 GiB: 260 MiB for the first graph, then 6 MiB each for 32 layers.
    first_graph_bytes=260 * MIB,
    graph_bytes_per_layer=200 * KIB,
    # A logit in 16 and in 32 bits, sorted, and as probability.
    sampler_bytes_per_logit=2 + 4 + 4 + 4,
    # A server on a CPU, without weights and KV: 2.5 to 4 GiB resident were observed.
    cpu_process_bytes=3 * GIB,
)
