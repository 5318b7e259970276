#!/bin/sh
# Every check: lint, types, imports, the documentation site, fast tests, drawn plans, the published runs, pages in a browser, then
# end to end, with stand-in engines, over several hosts, and with real engines. `sh scripts/test.sh fast` ends after the fast tests.
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
lint-imports
python scripts/build_site.py
fast="not engine and not processes and not slow and not cluster and not browser"
if [ "${1:-all}" = fast ]; then
    pytest -n 2 -m "$fast"
    echo "Left out by request: drawn plans, the published runs, pages in a browser, and what is end to end"
    exit 0
fi
pytest -n 2 -m "$fast" --hypothesis-profile many

install_engines() {
    tpdeploy backends install vllm
    tpdeploy backends install vllm --with ray
    tpdeploy backends install deepspeed-mii --platform cuda
    python -m tpdeploy.launcher.small_model
}

# That waits for the network, and what follows for the cores.
mkdir -p "$TPDEPLOY_HOME"
install_engines >"$TPDEPLOY_HOME/install.log" 2>&1 &
installing=$!
trap 'kill "$installing" ${judging:-} 2>/dev/null || true' EXIT
pytest -n 2 --dist worksteal -m slow tests
# One core each.
python -m benchmarks.accuracy >"$TPDEPLOY_HOME/accuracy.log" 2>&1 &
judging=$!
pytest -m browser tests/browser
if ! wait "$judging"; then
    cat "$TPDEPLOY_HOME/accuracy.log" >&2
    exit 1
fi
cat "$TPDEPLOY_HOME/accuracy.log"
if ! wait "$installing"; then
    cat "$TPDEPLOY_HOME/install.log" >&2
    exit 1
fi
pytest -n 4 -m processes tests # with what a release consists of
pytest -n 2 -m "cluster and not engine" tests/cluster
# Nothing serves while models are counted: two at a time.
pytest -n 2 -m engine tests/e2e/test_parameters.py
pytest -m engine --ignore tests/e2e/test_parameters.py tests/e2e tests/cluster
