#!/bin/sh
# Fits what engines add to their kernels to the published runs, then the ranges, and lists both; ends with the gate, which fails
# where a figure is worse than committed. Half an hour on two cores. `sh scripts/fit.sh OTHERS.csv`: ranges are learned from these too.
set -eu
cd "$(dirname "$0")/.."
. scripts/environment.sh

prepare_environment '[dev]'
PATH="$PWD/.venv/bin:$PATH"
published=benchmarks/published

fit() {
    engine=$1 architecture=$2
    shift 2
    python scripts/fit_serving.py "$@" --engine "$engine" --architecture "$architecture" --write
}

for architecture in hopper blackwell; do
    fit vllm "$architecture" "$published/serving.csv"
    fit sglang "$architecture" "$published/serving.csv"
    fit tensorrt-llm "$architecture" "$published/serving.csv" "$published/tensorrt-llm-offline.csv"
done
latent=benchmarks/unseen/2026-11-27-engines.csv
python scripts/fit_latent.py "$latent" --engine vllm --architecture hopper --write
python scripts/fit_latent.py "$latent" --engine tensorrt-llm --architecture hopper --write
python scripts/fit_latent.py "$latent" --engine sglang --architecture cdna3 --write
python scripts/fit_latent.py "$latent" --engine sglang --architecture cdna4 --write
python scripts/fit_beside.py "$published/deepspeed-mii.csv" --engine deepspeed-mii --kernels tensorrt-llm --architecture ampere --write
python scripts/fit_ranges.py "$published/serving.csv" "$published/tensorrt-llm-offline.csv" "$published/tensorrt-llm-static.csv" "$published/deepspeed-mii.csv" "$@" --write
python scripts/list_efficiencies.py
python -m benchmarks.accuracy
