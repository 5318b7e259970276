# /// script
# requires-python = ">=3.11"
# dependencies = ["pandas", "pyarrow", "scipy"]
# ///
"""Fits the kernels of an engine on a class of devices to per-operator measurements.

Usage: python scripts/fit_kernels.py WHEEL [--engine NAME] [--architecture NAME]

WHEEL is aiconfigurator-core from the package index (Apache-2.0), whose tables hold the seconds of
single operators by GPU, engine and version. Three parameters a kernel (share of the compute peak,
share of the memory peak, start) are fitted to the mean absolute log error over all GPUs of the
class; blocks `kernels` of the files in tpdeploy/profiles/data/efficiency are written.
Needs pandas, pyarrow and scipy, which tpdeploy itself does not.
"""

import argparse
import io
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from kernel_sources import add_reasons, record, take_over
from scipy.optimize import minimize

from tpdeploy.files import write_whole
from tpdeploy.planner.performance.kernels import peak_flops
from tpdeploy.profiles.devices.accelerator import Kernel, KernelFormat, Kernels
from tpdeploy.profiles.devices.catalog import DATA, find_accelerator
from tpdeploy.records import dump_record

ROOT = "aiconfigurator_core/systems/data"
GPUS = {
    "ampere": {"a100_sxm": "A100-SXM-80GB"},
    "ada": {"l40s": "L40S"},
    "hopper": {"h100_sxm": "H100-SXM-80GB", "h200_sxm": "H200-SXM-141GB"},
    "blackwell": {
        "b200_sxm": "B200-SXM-180GB",
        "b300_sxm": "B300-SXM-288GB",
        "gb200": "GB200-186GB",
        "gb300": "GB300-288GB",
    },
    "blackwell-rtx": {"rtx_pro_6000_server": "RTX-PRO-6000-Server"},
}
ENGINES = {"vllm": "vllm", "tensorrt-llm": "trtllm", "sglang": "sglang"}
# vLLM's FP8 tables were taken with the quantization of the inputs outside a graph, and show the
# launching CPU (75 us and more for block FP8); its MLA tables are of whole modules. The kernels
# are the same libraries' as these engines'.
BORROWED = {
    ("vllm", "fp8"): "sglang",
    ("vllm", "fp8-block"): "sglang",
    ("vllm", "mla"): "trtllm",
}
# Kernels that are left out of the tables. In FP8 with dynamic scales, as weights are quantized
# while loading, vLLM runs the experts on Hopper with Triton: FlashInfer's kernel takes static ones
# alone (vllm/model_executor/layers/fused_moe). The table of FlashInfer's shows 2.5 times BF16's
# time, of which whole servers show nothing: 10 % behind Triton (vllm-project/vllm pull 50040).
UNUSED = "vllm_modeloptfp8moe_flashinfer_cutlass_flashinferexperts"
UNUSED_ON = ("h100_sxm", "h200_sxm")
FORMATS: dict[str, KernelFormat] = {
    "bfloat16": "bf16",
    "fp8": "fp8",
    "fp8_block": "fp8-block",
    "nvfp4": "fp4",
    "int4_wo": "int4",
    "w4a8_mxfp4_mxfp8": "mxfp4",  # where there is none, the next
    "w4a16_mxfp4": "mxfp4",
}
PROVENANCE = ("framework", "version", "device", "op_name", "kernel_source")
# Stored bits a weight, scales included, and bits an activation.
WEIGHT_BITS = {"bf16": 16, "fp8": 8, "fp8-block": 8, "fp4": 4.5, "mxfp4": 4.25, "int4": 4.25}
INPUT_BITS = {"bf16": 16, "fp8": 8, "fp8-block": 8, "fp4": 4, "mxfp4": 16, "int4": 16}
ROWS = 8000  # of one table, drawn at random
SEED = 1
LEAST_ROWS = 60


# Folder, engine and name of a table, and the column and value of one format.
Wanted = tuple[str, str, str, str, str]
# Folder, name and format's column of a table, which rows to take, and their FLOPs and bytes.
Table = tuple[
    str,
    str,
    str,
    Callable[[pd.DataFrame], pd.DataFrame],
    Callable[[pd.DataFrame, KernelFormat], tuple[Any, ...]],
]


@dataclass
class Work:
    """What rows of a table did: FLOPs over the peak and bytes over the peak, and their seconds.

    Beside what overlaps with the FLOPs, the bytes handed on between the parts of a kernel.
    """

    compute: np.ndarray
    memory: np.ndarray
    handed_on: np.ndarray
    seconds: np.ndarray


@dataclass
class Fitted:
    """A kernel and the median error of its fit."""

    kernel: Kernel
    error: float


def main() -> None:
    """Fit every engine and class, or those asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--engine", choices=ENGINES)
    parser.add_argument("--architecture", choices=GPUS)
    asked = parser.parse_args()
    tables = Tables(asked.wheel)
    for engine in [asked.engine] if asked.engine else ENGINES:
        for architecture in [asked.architecture] if asked.architecture else GPUS:
            write(engine, architecture, tables)


class Tables:
    """The wheel's tables."""

    def __init__(self, wheel: Path) -> None:
        self.archive = zipfile.ZipFile(wheel)
        self.names = self.archive.namelist()
        self.cache: dict[str, pd.DataFrame] = {}
        self.package = "-".join(wheel.name.split("-")[:2]).replace("_", "-")

    def newest(self, gpu: str, wanted: Wanted) -> pd.DataFrame | None:
        """The newest version's rows of one format: each shape by its fastest kernel."""
        kind, engine, name, column, value = wanted
        pattern = re.compile(rf"{ROOT}/{gpu}/{kind}/{engine}/([^/]+)/{name}_perf.parquet")
        found = [(m[1], path) for path in self.names if (m := pattern.fullmatch(path))]
        found.sort(key=lambda item: [int(n) for n in re.findall(r"\d+", item[0])], reverse=True)
        for _, path in found:
            table = self._table(path)
            rows = table[table[column] == value]
            if gpu in UNUSED_ON:
                rows = rows[rows.kernel_source != UNUSED]
            if len(rows) >= LEAST_ROWS:
                shape = [c for c in rows.columns if c not in (*PROVENANCE, "latency")]
                return rows.groupby(shape, dropna=False, as_index=False).latency.min()
        return None

    def _table(self, path: str) -> pd.DataFrame:
        if path not in self.cache:
            self.cache[path] = pd.read_parquet(io.BytesIO(self.archive.read(path)))
        return self.cache[path]


def write(engine: str, architecture: str, tables: Tables) -> None:
    """Fit the kernels of one engine on one class and write them into its file."""
    fits = {
        "matmul": matmul(engine, architecture, tables),
        "experts": experts(engine, architecture, tables),
        **attention(engine, architecture, tables),
        **latent(engine, architecture, tables),
    }
    for kind, found in fits.items():
        for form, fitted in found.items():
            print(engine, architecture, kind, form, fitted.kernel, f"{fitted.error:.1%}")
    path = DATA / "efficiency" / engine / f"{architecture}.yaml"
    before = record(engine, architecture)
    errors = ", ".join(
        f"{kind} {form} {fitted.error:.0%}"
        for kind, found in fits.items()
        for form, fitted in found.items()
    )
    blocks: dict[str, Any] = {
        kind: {form: fitted.kernel for form, fitted in found.items()}
        or getattr(before.kernels, kind)
        for kind, found in fits.items()
    }
    take_over(engine, architecture, blocks)
    add_reasons(architecture, blocks)
    kernels = Kernels(
        **blocks,
        source=f"scripts/fit_kernels.py on {tables.package}: {', '.join(GPUS[architecture])}",
        date=date.today(),
        confidence="high",
        note=f"median error of the fit: {errors}",
    )
    changed = before.model_copy(update={"kernels": kernels})
    header = "# yaml-language-server: $schema=../../schemas/efficiency.schema.json\n"
    write_whole(path, header + dump_record(changed))


def matmul(engine: str, architecture: str, tables: Tables) -> dict[KernelFormat, Fitted]:
    """Dense products, by format."""

    def work(rows: pd.DataFrame, form: KernelFormat) -> tuple[Any, Any]:
        m, n, k = rows.m, rows.n, rows.k
        moved = (n * k * WEIGHT_BITS[form] + m * k * INPUT_BITS[form] + m * n * 16) / 8
        return 2.0 * m * n * k, moved

    def chosen(rows: pd.DataFrame) -> pd.DataFrame:
        return rows[(rows.m <= 16384) & rows.n.between(512, 32768) & rows.k.between(512, 32768)]

    table = ("gemm", "gemm", "gemm_dtype", chosen, work)
    return by_format(engine, architecture, tables, table)


def experts(engine: str, architecture: str, tables: Tables) -> dict[KernelFormat, Fitted]:
    """Routed experts of one layer, over balanced and skewed routing alike."""

    def work(rows: pd.DataFrame, form: KernelFormat) -> tuple[Any, Any, Any]:
        tokens, share = rows.num_tokens / rows.moe_ep_size, rows.topk
        width = rows.inter_size / rows.moe_tp_size
        weights = 3.0 * rows.hidden_size * width
        touched = 1 - (1 - rows.topk / rows.num_experts) ** rows.num_tokens
        read = rows.num_experts / rows.moe_ep_size * touched * weights * WEIGHT_BITS[form] / 8
        handed_on = tokens * share * 2 * (2 * rows.hidden_size + 3 * width) * 2
        return 2 * tokens * share * weights, read, handed_on

    def chosen(rows: pd.DataFrame) -> pd.DataFrame:
        narrow = (rows.moe_ep_size <= 8) & (rows.moe_tp_size <= 8)
        return rows[narrow & (rows.num_tokens <= 16384)]

    table = ("moe", "moe", "moe_dtype", chosen, work)
    return by_format(engine, architecture, tables, table)


def by_format(
    engine: str,
    architecture: str,
    tables: Tables,
    table: Table,
) -> dict[KernelFormat, Fitted]:
    """One fit for each format of a table."""
    kind, name, column, chosen, work = table
    found: dict[KernelFormat, Fitted] = {}
    for theirs, form in FORMATS.items():
        if form in found:
            continue
        source = (
            BORROWED.get((engine, form), ENGINES[engine]) if kind == "gemm" else ENGINES[engine]
        )
        parts = []
        for device, rows in each_gpu(tables, architecture, (kind, source, name, column, theirs)):
            mine = sample(chosen(rows))
            if len(mine):
                flops, *traffic = work(mine, form)
                peak = peak_flops(device, form)
                parts.append(seconds(mine, flops / peak, device, *traffic))
        if fitted := fit(parts):
            found[form] = fitted
    return found


def attention(
    engine: str, architecture: str, tables: Tables
) -> dict[str, dict[KernelFormat, Fitted]]:
    """Grouped-query attention without a window, heads of 64 and 128, by KV format."""
    found: dict[str, dict[KernelFormat, Fitted]] = {"prefill_attention": {}, "decode_attention": {}}
    names = (("prefill_attention", "context"), ("decode_attention", "generation"))
    for kind, name in names:
        for form, stored in (("bf16", "bfloat16"), ("fp8", "fp8")):
            parts = []
            table = ("attention", ENGINES[engine], f"{name}_attention", "kv_cache_dtype", stored)
            for device, rows in each_gpu(tables, architecture, table):
                whole = rows[rows.window_size == 0] if "window_size" in rows else rows
                mine = sample(_long_enough(whole[whole.head_dim.isin([64, 128])], name))
                if len(mine):
                    flops, moved = _grouped(mine, name, 1 if form == "fp8" else 2)
                    parts.append(seconds(mine, flops / peak_flops(device, "bf16"), device, moved))
            if fitted := fit(parts):
                found[kind][form] = fitted  # type: ignore[index]
    return found


def latent(engine: str, architecture: str, tables: Tables) -> dict[str, dict[KernelFormat, Fitted]]:
    """MLA: prompts with the latent expanded, decoding on the latent, by KV format."""
    source = BORROWED.get((engine, "mla"), ENGINES[engine])
    found: dict[str, dict[KernelFormat, Fitted]] = {"latent_prefill": {}, "latent_decode": {}}
    for kind, name in (("latent_prefill", "context"), ("latent_decode", "generation")):
        for form, stored in (("bf16", "bfloat16"), ("fp8", "fp8")):
            parts = []
            table = ("mla", source, f"{name}_mla", "kv_cache_dtype", stored)
            for device, rows in each_gpu(tables, architecture, table):
                mine = sample(_long_enough(rows, name))
                if len(mine):
                    flops, moved = _latent(mine, name, 1 if form == "fp8" else 2)
                    parts.append(seconds(mine, flops / peak_flops(device, "bf16"), device, moved))
            if fitted := fit(parts):
                found[kind][form] = fitted  # type: ignore[index]
    return found


def _long_enough(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    return rows[rows.isl >= 64] if name == "context" else rows[rows.isl + rows.step >= 256]


def _grouped(rows: pd.DataFrame, name: str, kv_bytes: int) -> tuple[Any, Any]:
    """FLOPs and bytes: a prompt's Q, K, V and output, or the KV of the context."""
    wide = rows.num_heads * rows.head_dim
    if name == "context":
        tokens = 1.0 * rows.batch_size * rows.isl
        values = 2 * wide * 2 + 2 * rows.num_key_value_heads * rows.head_dim * kv_bytes
        return 2 * tokens * rows.isl * wide, tokens * values
    pairs = 1.0 * rows.batch_size * (rows.isl + rows.step)
    return 4 * pairs * wide, pairs * 2 * rows.num_key_value_heads * rows.head_dim * kv_bytes


def _latent(rows: pd.DataFrame, name: str, kv_bytes: int) -> tuple[Any, Any]:
    """The same with the sizes of DeepSeek-V3, which the tables are of."""
    if name == "context":
        tokens = 1.0 * rows.batch_size * rows.isl
        values = rows.num_heads * 2 * (192 + 128)
        return tokens * rows.isl * rows.num_heads * (192 + 128), tokens * values * 2
    pairs = 1.0 * rows.batch_size * (rows.isl + rows.step)
    return 2 * pairs * rows.num_heads * (576 + 512), pairs * 576 * kv_bytes


def each_gpu(
    tables: Tables, architecture: str, table: Wanted
) -> Iterator[tuple[Any, pd.DataFrame]]:
    """Our record of each GPU of a class that has such rows, and the rows."""
    for gpu, device in GPUS[architecture].items():
        rows = tables.newest(gpu, table)
        if rows is not None:
            yield find_accelerator(device), rows


def sample(rows: pd.DataFrame) -> pd.DataFrame:
    """At most ROWS of `rows`, always the same."""
    return rows.sample(ROWS, random_state=SEED) if len(rows) > ROWS else rows


def seconds(
    rows: pd.DataFrame, compute: Any, device: Any, moved: Any, handed_on: Any = None
) -> Work:
    """The work of `rows`, in seconds at the device's peaks, and what it took (ms in the tables)."""
    peak = device.peaks.memory_bytes_per_s
    beside = np.zeros(len(rows)) if handed_on is None else np.asarray(handed_on / peak)
    taken = np.asarray(rows.latency) / 1000
    return Work(np.asarray(compute), np.asarray(moved / peak), beside, taken)


def fit(parts: list[Work]) -> Fitted | None:
    """The kernel with the least mean absolute log error over `parts`."""
    if sum(len(part.seconds) for part in parts) < LEAST_ROWS:
        return None
    compute, memory, handed_on, taken = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("compute", "memory", "handed_on", "seconds")
    )

    def errors(logs: np.ndarray) -> np.ndarray:
        share_c, share_m, start = np.exp(logs)
        alike = np.hypot(compute / share_c, memory / share_m)
        return np.abs(np.log((start + alike + handed_on / share_m) / taken))

    def loss(logs: np.ndarray) -> float:
        beyond = np.clip(logs[:2], 0, None).sum()  # a share above 1
        return float(errors(logs).mean() + 10 * beyond)

    starts = [np.log([c, m, 5e-6]) for c in (0.6, 0.2) for m in (0.8, 0.3)]
    best = min(
        (minimize(loss, s, method="Nelder-Mead", options={"maxiter": 2000}) for s in starts),
        key=lambda result: result.fun,
    )
    share_c, share_m, start = np.exp(best.x)
    kernel = Kernel(
        compute=min(1.0, float(f"{share_c:.3g}")),
        memory=min(1.0, float(f"{share_m:.3g}")),
        start_s=float(f"{start:.3g}"),
    )
    return Fitted(kernel, float(np.median(errors(best.x))))


if __name__ == "__main__":
    main()
