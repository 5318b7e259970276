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
