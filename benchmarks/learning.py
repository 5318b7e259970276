"""How far predictions are off before calibration, after it, and after one validation.

Usage: python benchmarks/learning.py MODEL --home FOLDER [--executable PATH/vllm] [--measured]

Runs on this machine's CPU, with the engine that is installed, and takes about
fifteen minutes; leave the machine to it. MODEL is the folder of SmolLM2-135M
(`python -m tpdeploy.launcher.small_model`). It and a Llama shape made here, with random weights,
are served by vLLM on one share, on two as replicas, and split over two; each is measured at
CONCURRENCIES with prompts of INPUT tokens. Then the means of TTFT and TPOT are predicted by the
catalog alone, with what `tpdeploy calibrate` measured, and corrected by one validation: that of
the first deployment at the middle load, which is left out of the last column. FOLDER keeps
everything; with --measured only the table is made again from it.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tpdeploy.backends.inputs import inputs_of
from tpdeploy.cli.commands.learn import learn_and_tell
from tpdeploy.files import data_home
from tpdeploy.harness.measure.report import ValidationReport
from tpdeploy.planner.search.replay import replay

CONCURRENCIES = (1, 4, 8)
INPUT, OUTPUT, REQUESTS = 512, 64, 16
SPLITS: Mapping[str, Sequence[tuple[int, int]]] = {
    "smollm2": ((1, 1), (1, 2)),
    "llama": ((1, 1), (2, 1)),
}
# SmolLM2's vocabulary, so that its tokenizer fits; 0.25 billion parameters.
LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 12,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "vocab_size": 49152,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5,
    "torch_dtype": "bfloat16",
    "tie_word_embeddings": True,
}
WEIGHTS = (".safetensors", ".bin")


@dataclass(frozen=True)
class Stage:
    """What predictions may know: the folder that they find it in."""

    name: str
    home: Path


def main() -> None:
    """Measure, unless it was done, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--executable", type=Path)
    parser.add_argument("--measured", action="store_true")
    asked = parser.parse_args()
    home = asked.home.absolute()
    engine = ["--executable", str(asked.executable.absolute())] if asked.executable else []
    if not asked.measured:
        measure(asked.model.absolute(), home, engine)
    stages = prepare(home)
    console = Console(width=None if sys.stdout.isatty() else 110)
    console.print(table(stages, list(reports(home))))


def measure(model: Path, home: Path, engine: Sequence[str]) -> None:
    """Serve and measure every deployment, then calibrate; nothing may know of it on the way."""
    shutil.rmtree(home, ignore_errors=True)
    for stage in ("calibrated", "catalog"):
        (home / stage).mkdir(parents=True)
        (home / stage / "environments").symlink_to(data_home() / "environments")
    run(home / "calibrated", "calibrate", "--backend", "vllm", *engine)
    models = {"smollm2": model, "llama": made_llama(model, home / "made-llama")}
    for name, splits in SPLITS.items():
        for tensor, replicas in splits:
            serve(home / "catalog", models[name], tensor, replicas, engine)


def made_llama(source: Path, folder: Path) -> Path:
    """A model folder with LLAMA's config and the tokenizer of `source`; its weights are random."""
    folder.mkdir(parents=True)
    for file in source.iterdir():
        if file.suffix not in WEIGHTS and file.name != "config.json":
            shutil.copy(file, folder)
    (folder / "config.json").write_text(json.dumps(LLAMA), encoding="utf-8")
    return folder


def serve(home: Path, model: Path, tensor: int, replicas: int, engine: Sequence[str]) -> None:
    """Plan, launch, measure under every load, stop."""
    load = ["--input-tokens", str(INPUT), "--output-tokens", str(OUTPUT)]
    split = ["--tp", str(tensor), "--replicas", str(replicas), "--backend", "vllm"]
    run(home, "plan", str(model), "--gpus", "2xCPU", *split, *load, "--concurrency", "4")
    dummy = ["--engine-arg=--load-format=dummy"] if model.name == "made-llama" else []
    run(home, "launch", "--detach", *dummy, *engine)
    try:
        loads = ",".join(map(str, CONCURRENCIES))
        run(home, "validate", "--sweep", loads, "--requests", str(REQUESTS))
    finally:
        run(home, "stop")
    # Every deployment is planned and measured as on a machine that has learned nothing.
    shutil.rmtree(home / "learned", ignore_errors=True)


def run(home: Path, *arguments: str) -> None:
    """One command of tpdeploy, with `home` as everything it keeps; its output is shown."""
    print("$ tpdeploy", *arguments, flush=True)
    environment = {**os.environ, "TPDEPLOY_HOME": str(home)}
    subprocess.run([sys.executable, "-m", "tpdeploy", *arguments], env=environment, check=True)


def prepare(home: Path) -> list[Stage]:
    """The folders of what each stage knows."""
    empty, calibrated, learned = home / "empty", home / "calibrated", home / "learned"
    empty.mkdir(exist_ok=True)
    shutil.rmtree(learned, ignore_errors=True)
    shutil.copytree(calibrated / "measured", learned / "measured")
    (learned / "validations").mkdir()
    shutil.copy(lesson(home), learned / "validations")
    os.environ["TPDEPLOY_HOME"] = str(learned)
    learn_and_tell("vllm", "CPU")
    return [
        Stage("catalog", empty),
        Stage("calibrated", calibrated),
        Stage("one validation", learned),
    ]


def lesson(home: Path) -> Path:
    """The report of the first deployment under the middle load."""
    return validations(home)[1]


def validations(home: Path) -> list[Path]:
    """The reports of all loads, oldest first."""
    return sorted((home / "catalog" / "validations").glob("*.json"))


def reports(home: Path) -> Iterator[ValidationReport]:
    """What is in them."""
    for path in validations(home):
        yield ValidationReport.model_validate_json(path.read_bytes())


def table(stages: Sequence[Stage], measured: Sequence[ValidationReport]) -> Table:
    """One row per load: means in ms, and the error at each stage."""
    shown = Table(box=None, title="Mean TTFT and TPOT: predicted / measured - 1")
    shown.add_column("deployment")
    for name in ("in flight", "TTFT ms", *(s.name for s in stages)):
        shown.add_column(name, justify="right")
    for name in ("TPOT ms", *(s.name for s in stages)):
        shown.add_column(name, justify="right")
    for report in measured:
        ttft, tpot = report.measured.ttft_ms.mean, report.measured.tpot_ms
        assert tpot is not None  # noqa: S101 - more than one output token was asked
        errors = [error(stage, report) for stage in stages]
        split = report.plan.parallelism
        shown.add_row(
            f"{report.plan.model.id}, {split.words} x {split.replicas}",
            str(report.workload.concurrency),
            f"{ttft:,.0f}",
            *(f"{each[0]:+.0%}" for each in errors),
            f"{tpot.mean:.1f}",
            *(f"{each[1]:+.0%}" for each in errors),
        )
    return shown


def error(stage: Stage, report: ValidationReport) -> tuple[float, float]:
    """Of mean TTFT and TPOT, as predicted with what `stage` knows."""
    os.environ["TPDEPLOY_HOME"] = str(stage.home)
    found = replay(inputs_of(report.plan), report.plan, report.workload)
    tpot = report.measured.tpot_ms.mean if report.measured.tpot_ms else 0.0
    return (
        found.ttft_distribution.mean / report.measured.ttft_ms.mean - 1,
        found.tpot_distribution.mean / tpot - 1,
    )


if __name__ == "__main__":
    main()
