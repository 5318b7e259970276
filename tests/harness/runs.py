"""Measured runs as text, for the tests of the backtest."""

from pathlib import Path

from tpdeploy.harness.backtest.table import COLUMNS

# Llama 3.1 8B on one H100, with measurements of the right order.
PLAIN = {
    "model": "meta-llama/Llama-3.1-8B",
    "gpu": "H100 SXM 80GB",
    "gpu_count": "1",
    "tp": "1",
    "pp": "1",
    "dp": "1",
    "precision": "",
    "engine": "vllm",
    "input_tokens": "1024",
    "output_tokens": "128",
    "concurrency": "8",
    "ttft_ms": "60",
    "tpot_ms": "8",
}


def run(**changed: str) -> dict[str, str]:
    """One run like PLAIN."""
    return {**PLAIN, **changed}


def write_runs(path: Path, *runs: dict[str, str]) -> Path:
    """A CSV file of these runs, with the columns of the first."""
    columns = [*runs[0]] if runs else list(COLUMNS)
    lines = [",".join(columns), *(",".join(each[name] for name in columns) for each in runs)]
    path.write_text("\n".join(lines) + "\n")
    return path
