#!/bin/sh
# The main job, end to end on this machine's CPU: set up, plan, launch, query, validate, stop.
set -eu
cd "$(dirname "$0")/.."
. scripts/environment.sh

# Shows a command, then runs it.
run() {
    printf '\n$'
    for word in "$@"; do
        case $word in
            *' '*) printf ' "%s"' "$word" ;;
            *) printf ' %s' "$word" ;;
        esac
    done
    printf '\n'
    "$@"
}

folder=$(mktemp -d)
stop_quietly() {
    tpdeploy stop --name demo >/dev/null 2>&1 || true
    rm -rf "$folder"
}

prepare_environment
PATH="$PWD/.venv/bin:$PATH"
trap stop_quietly EXIT
trap 'exit 130' INT TERM

run tpdeploy backends install vllm
printf '\nPreparing SmolLM2-135M-Instruct\n'
model=$(python -m tpdeploy.launcher.small_model)

plan=$folder/plan.yaml
run tpdeploy plan "$model" --gpus 2xCPU --replicas 2 --concurrency 4 \
    --input-tokens 64 --output-tokens 32 --ttft 10000 --tpot 1000 --output "$plan"
run tpdeploy launch "$plan" --backend vllm --detach --name demo
run tpdeploy status --name demo
run tpdeploy query "What is the capital of France?" --name demo
run tpdeploy validate --name demo
run tpdeploy stop --name demo
