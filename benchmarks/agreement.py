"""Our figures beside those of `vllm bench serve`, taking turns on one running deployment.

Usage: python -m benchmarks.agreement VLLM [--name default] [--requests 48] [--rounds 7]

VLLM is the vllm program whose benchmark is run. Both send random prompts under the load that the
deployment is planned for (a number in flight), answers of fixed length, other prompts each round,
and who begins changes from round to round. The medians of the rounds' means are compared.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from tpdeploy.errors import TpdeployError
from tpdeploy.launcher.state import Endpoint, running_endpoint

Figures = Mapping[str, float]

WARM_UP_ROUNDS = 2
# Ours and theirs.
FIGURES = {
    "TTFT ms": ("ttft_ms", "mean_ttft_ms"),
    "TPOT ms": ("tpot_ms", "mean_tpot_ms"),
    "end-to-end ms": ("e2e_ms", "mean_e2el_ms"),
    "output tokens/s": ("output_tokens_per_s", "output_throughput"),
}


def main() -> None:
    """Measure in turns and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("vllm", type=Path)
    parser.add_argument("--name", default="default")
    parser.add_argument("--requests", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    try:
        endpoint = running_endpoint(asked.name)
    except TpdeployError as error:
        sys.exit(f"Error: {error}")
    if endpoint.plan.workload.concurrency is None:
        sys.exit("Error: the deployment is planned for a rate; plan it for a --concurrency")
    rounds = [turn(asked, endpoint, number) for number in range(asked.rounds)]
    Console(width=None if sys.stdout.isatty() else 100).print(table(rounds))


def turn(asked: argparse.Namespace, endpoint: Endpoint, number: int) -> tuple[Figures, Figures]:
    """Ours and theirs, one after the other."""
    if number % 2:
        found = theirs(asked, endpoint, number)
        return ours(asked), found
    found = ours(asked)
    return found, theirs(asked, endpoint, number)


def ours(asked: argparse.Namespace) -> Figures:
    """What `tpdeploy validate` measures; whether targets are met does not matter here."""
    command = [sys.executable, "-m", "tpdeploy", "validate", "--name", asked.name, "--json"]
    command += ["--requests", str(asked.requests)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not done.stdout:
        sys.exit(done.stderr)
    measured = json.loads(done.stdout)["measured"]
    values = {name: measured[key] for name, (key, _) in FIGURES.items()}
    return {name: v["mean"] if isinstance(v, dict) else v for name, v in values.items()}


def theirs(asked: argparse.Namespace, endpoint: Endpoint, seed: int) -> Figures:
    """What `vllm bench serve` measures under the same load."""
    plan, load = endpoint.plan, endpoint.plan.workload
    clients = load.concurrency or 1
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        command = [str(asked.vllm), "bench", "serve", "--backend", "vllm", "--seed", str(seed)]
        command += ["--base-url", endpoint.url, "--endpoint", "/v1/completions"]
        command += ["--model", plan.model.path or plan.model.id]
        command += ["--served-model-name", plan.model.id]
        command += ["--dataset-name", "random", "--ignore-eos", "--temperature", "0"]
        command += ["--random-input-len", str(load.input_tokens)]
        command += ["--random-output-len", str(load.output_tokens)]
        command += ["--max-concurrency", str(clients), "--num-prompts", str(asked.requests)]
        command += ["--num-warmups", str(WARM_UP_ROUNDS * clients)]
        command += ["--percentile-metrics", "ttft,tpot,e2el"]
        command += ["--save-result", "--result-filename", str(result)]
        env = {**os.environ, "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"Error: vllm bench serve failed:\n{done.stderr[-2000:]}")
        found = json.loads(result.read_text(encoding="utf-8"))
    return {name: found[key] for name, (_, key) in FIGURES.items()}


def table(rounds: Sequence[tuple[Figures, Figures]]) -> Table:
    """Medians, and how far ours lie from theirs."""
    shown = Table(title=f"Medians of {len(rounds)} rounds' means", title_justify="left")
    for title in ("", "tpdeploy validate", "vllm bench serve", "ours / theirs - 1", "by round"):
        shown.add_column(title, justify="right" if title else "left")
    for name in FIGURES:
        mine = median(one[name] for one, _ in rounds)
        other = median(one[name] for _, one in rounds)
        each = sorted(one[name] / two[name] - 1 for one, two in rounds)
        spread = f"{each[0]:+.1%} to {each[-1]:+.1%}"
        shown.add_row(name, f"{mine:,.2f}", f"{other:,.2f}", f"{mine / other - 1:+.1%}", spread)
    return shown


if __name__ == "__main__":
    main()
