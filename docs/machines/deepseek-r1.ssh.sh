main() {
umask 077
FOLDER=$(mktemp -d)
trap 'rm -rf "$FOLDER"' EXIT
exec 3<&0
ADDRESS=10.0.0.1
RANK=0
CPUS=''
PATH=/shared/tpdeploy/environments/vllm-0.33.0/bin:"${TPDEPLOY_HOME:-${XDG_DATA_HOME:-$HOME/.local/share}/tpdeploy}/environments/vllm-0.33.0/bin":$PATH
interface=$(ip -o -4 addr show to "$ADDRESS" 2> /dev/null | awk '{ print $2; exit }')
if [ -n "$interface" ]; then
    export GLOO_SOCKET_IFNAME="${GLOO_SOCKET_IFNAME:-$interface}"
    export NCCL_SOCKET_IFNAME="${NCCL_SOCKET_IFNAME:-$interface}"
fi
export CUDA_VISIBLE_DEVICES=0,1,2,3,4,5,6,7
export VLLM_NO_USAGE_STATS=1
export DO_NOT_TRACK=1
export PYTHONPATH="$FOLDER"
export VLLM_HOST_IP="$ADDRESS"
cat > "$FOLDER"/tpdeploy_guard.py <<'EOF'
"""Lets nobody in without the key, on whatever route: vLLM itself asks for it below /v1 alone.

Runs inside vLLM's server (`--middleware tpdeploy_guard.Guard`) and imports nothing of tpdeploy.
Without a key everyone is let in, as by vLLM.
"""

import hmac
import os
from collections.abc import Awaitable, Callable
from typing import Any

KEY = "VLLM_API_KEY"
OPEN = "/health"  # tells nothing, and is asked by who has no key
REFUSAL = b'{"error": {"message": "only the front of the deployment is let in", "code": 401}}'

Send = Callable[[dict[str, Any]], Awaitable[None]]
App = Callable[[dict[str, Any], Any, Send], Awaitable[None]]


class Guard:
    """Stands around an ASGI application."""

    def __init__(self, app: App) -> None:
        self.app = app
        key = os.environ.get(KEY)
        self.wanted = f"Bearer {key}".encode() if key else None

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Send) -> None:
        """Pass on what bears the key."""
        if scope["type"] == "lifespan" or self._admits(scope):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            headers = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": 401, "headers": headers})
            await send({"type": "http.response.body", "body": REFUSAL})

    def _admits(self, scope: dict[str, Any]) -> bool:
        if self.wanted is None or scope["path"] == OPEN:
            return True
        shown = [value for name, value in scope["headers"] if name.lower() == b"authorization"]
        return len(shown) == 1 and hmac.compare_digest(shown[0], self.wanted)
EOF
if [ "$RANK" = 0 ]; then
    set -- vllm serve deepseek-ai/DeepSeek-R1 \
        --served-model-name deepseek-ai/DeepSeek-R1 \
        --host 10.0.0.1 \
        --port 20663 \
        --middleware tpdeploy_guard.Guard \
        --tensor-parallel-size 8 \
        --pipeline-parallel-size 2 \
        --dtype bfloat16 \
        --max-model-len 163840 \
        --max-num-seqs 256 \
        --max-num-batched-tokens 8192 \
        --gpu-memory-utilization 0.92 \
        --nnodes 2 \
        --node-rank "$RANK" \
        --master-addr 10.0.0.1 \
        --master-port 24242
else
    set -- vllm serve deepseek-ai/DeepSeek-R1 \
        --served-model-name deepseek-ai/DeepSeek-R1 \
        --host 10.0.0.1 \
        --port 20663 \
        --middleware tpdeploy_guard.Guard \
        --tensor-parallel-size 8 \
        --pipeline-parallel-size 2 \
        --dtype bfloat16 \
        --max-model-len 163840 \
        --max-num-seqs 256 \
        --max-num-batched-tokens 8192 \
        --gpu-memory-utilization 0.92 \
        --nnodes 2 \
        --node-rank "$RANK" \
        --master-addr 10.0.0.1 \
        --master-port 24242 \
        --headless
fi
setsid "$@" < /dev/null 3<&- &
engine=$!
trap 'kill -TERM -- "-$engine" 2> /dev/null' TERM INT
{
    while read -r -t 60; do :; done
    kill -TERM -- "-$engine"
    sleep 10
    kill -KILL -- "-$engine"
} <&3 > /dev/null 2>&1 &
trap 'kill "$!" 2> /dev/null; rm -rf "$FOLDER"' EXIT
while :; do
    { wait "$engine"; } 2> /dev/null
    code=$?
    kill -0 "$engine" 2> /dev/null || break
done
kill -KILL -- "-$engine" 2> /dev/null
exit "$code"
}
main
