#!/bin/sh
# Every check: lint, types, fast tests, then the end-to-end tier on a real vLLM engine.
# `sh scripts/test.sh fast` leaves the engine out.
set -eu
cd "$(dirname "$0")/.."
. scripts/environment.sh

prepare_environment '[dev]'
PATH="$PWD/.venv/bin:$PATH"
# Engines and state of the tests stay inside the checkout.
export TPDEPLOY_HOME="$PWD/.tpdeploy"

ruff check .
ruff format --check .
mypy
pytest -n 4 -m "not engine"
if [ "${1:-all}" = fast ]; then
    echo "Left out by request: the end-to-end tests on a real engine"
    exit 0
fi
tpdeploy backends install vllm
tpdeploy backends install deepspeed-mii --platform cuda
python -m tpdeploy.launcher.small_model
pytest -m engine
