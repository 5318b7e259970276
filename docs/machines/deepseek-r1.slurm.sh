#!/bin/bash
#SBATCH --job-name=tpdeploy-deepseek
#SBATCH --array=0
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gres=gpu:8
#SBATCH --output=/shared/tpdeploy/deployments/deepseek/logs/replica-%a.log
#SBATCH --open-mode=append
export PORT=$((20000 + 2 * (SLURM_JOB_ID % 5000)))
export MEETING_PORT=$((PORT + 1))
export FIRST=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
srun --kill-on-bad-exit=1 bash -s <<'PART'
address_of() { getent ahostsv4 "$1" | awk '$1 !~ /^127\./ { print $1; exit }'; }
ADDRESS=$(address_of "$SLURMD_NODENAME")
ADDRESS=${ADDRESS:-$(hostname -I | cut -d ' ' -f 1)}
HEAD=$ADDRESS
[ "$SLURM_NODEID" = 0 ] || HEAD=$(address_of "$FIRST")
interface=$(ip -o -4 addr show to "$ADDRESS" 2> /dev/null | awk '{ print $2; exit }')
if [ -n "$interface" ]; then
    export GLOO_SOCKET_IFNAME="${GLOO_SOCKET_IFNAME:-$interface}"
    export NCCL_SOCKET_IFNAME="${NCCL_SOCKET_IFNAME:-$interface}"
fi
export VLLM_NO_USAGE_STATS=1
export DO_NOT_TRACK=1
export PYTHONPATH=/shared/tpdeploy/deployments/deepseek/replica-0
export VLLM_HOST_IP="$ADDRESS"
if [ "$SLURM_NODEID" = 0 ]; then
    set -- vllm serve deepseek-ai/DeepSeek-R1 \
        --served-model-name deepseek-ai/DeepSeek-R1 \
        --host "$ADDRESS" \
        --port "$PORT" \
        --middleware tpdeploy_guard.Guard \
        --tensor-parallel-size 8 \
        --pipeline-parallel-size 2 \
        --dtype bfloat16 \
        --max-model-len 163840 \
        --max-num-seqs 256 \
        --max-num-batched-tokens 8192 \
        --gpu-memory-utilization 0.92 \
        --nnodes 2 \
        --node-rank "$SLURM_NODEID" \
        --master-addr "$HEAD" \
        --master-port "$MEETING_PORT"
else
    set -- vllm serve deepseek-ai/DeepSeek-R1 \
        --served-model-name deepseek-ai/DeepSeek-R1 \
        --host "$ADDRESS" \
        --port "$PORT" \
        --middleware tpdeploy_guard.Guard \
        --tensor-parallel-size 8 \
        --pipeline-parallel-size 2 \
        --dtype bfloat16 \
        --max-model-len 163840 \
        --max-num-seqs 256 \
        --max-num-batched-tokens 8192 \
        --gpu-memory-utilization 0.92 \
        --nnodes 2 \
        --node-rank "$SLURM_NODEID" \
        --master-addr "$HEAD" \
        --master-port "$MEETING_PORT" \
        --headless
fi
setsid "$@" < /dev/null 3<&- &
engine=$!
trap 'kill -TERM -- "-$engine" 2> /dev/null' TERM INT
while :; do
    { wait "$engine"; } 2> /dev/null
    code=$?
    kill -0 "$engine" 2> /dev/null || break
done
kill -KILL -- "-$engine" 2> /dev/null
exit "$code"
PART
