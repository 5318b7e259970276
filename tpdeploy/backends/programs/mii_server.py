"""Serves one model with DeepSpeed-MII behind an OpenAI-compatible port.

Usage: python mii_server.py FILE HOST PORT

Runs inside MII's environment and imports nothing of tpdeploy. FILE is JSON: model, served_name,
devices (GPU numbers, one per rank), and `serve`, what mii.serve is told besides. Beyond
MII's own server it chooses free ports, answers to a name, tells the truth at /health, reads
prompts of token ids, and ends when its backend does, leaving no process behind.
"""

import json
import os
import signal
import socket
import sys
import threading
import time
from argparse import Namespace
from dataclasses import dataclass
from types import FrameType
from typing import Any, NoReturn

import psutil

POLL_S = 1.0
GRACE_S = 5.0
KEY = "MII_API_KEY"
FIRST_PORT, LAST_PORT = 50050, 60000


@dataclass
class Backend:
    """What answers behind the front: its processes, and the ports that they listen on."""

    processes: list[psutil.Process]
    ports: list[int]  # the load balancer's first

    def lives(self) -> bool:
        """Whether every process runs and every port accepts connections."""
        return all(map(_runs, self.processes)) and all(map(_listens, self.ports))


def main(path: str, host: str, port: str) -> None:
    """Start the backend, watch it, and serve."""
    with open(path, encoding="utf-8") as file:  # noqa: PTH123
        config = {**json.load(file), "host": host, "port": int(port)}
    signal.signal(signal.SIGTERM, _asked_to_end)
    try:
        backend = start_backend(config)
    except Exception as error:
        _fail(f"DeepSpeed-MII did not start: {type(error).__name__}: {error}")
    threading.Thread(target=_watch, args=(backend,), daemon=True).start()
    serve(config, backend)


def start_backend(config: dict[str, Any]) -> Backend:
    """Start MII's processes, and wait until they are ready."""
    import mii

    # MII loads tokenizers with trust_remote_code; one that brings code is refused here.
    load_tokenizer(config)
    ports = free_block(1 + len(config["devices"]))
    torch_port, zmq_port = free_block(1, ports[-1] + 1)[0], free_block(1, ports[-1] + 2)[0]
    mii.serve(
        config["model"],
        deployment_name=f"tpdeploy-{config['port']}",
        replica_num=1,
        device_map=[config["devices"]],
        port_number=ports[0],
        torch_dist_port=torch_port,
        zmq_port_number=zmq_port,
        enable_restful_api=False,
        **config["serve"],
    )
    return Backend(psutil.Process().children(), ports)


def serve(config: dict[str, Any], backend: Backend) -> None:
    """MII's own OpenAI front on our port, until it is ended."""
    tokenizer = load_tokenizer(config)
    _read_token_ids(tokenizer)
    import uvicorn
    from fastapi.responses import JSONResponse
    from mii.entrypoints import openai_api_server as front

    key = os.environ.get(KEY)
    front.load_balancer = f"localhost:{backend.ports[0]}"
    front.tokenizer = tokenizer
    front.app_settings = front.AppSettings(
        model_id=config["served_name"],
        api_keys=[key] if key else None,
        response_role="assistant",
    )
    front.load_chat_template(Namespace(chat_template=None), tokenizer)
    # Its own protocol below /api generates without asking for a key.
    routes = front.app.router.routes
    routes[:] = [route for route in routes if getattr(route, "path", "").startswith("/v1/")]

    @front.app.get("/health")
    def health() -> JSONResponse:
        return JSONResponse({}, status_code=200 if backend.lives() else 503)

    uvicorn.run(front.app, host=config["host"], port=config["port"])
    _end(0)


def load_tokenizer(config: dict[str, Any]) -> Any:
    """The model's tokenizer, without running any code that it brings."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(config["model"], trust_remote_code=False)


def free_block(count: int, first: int = FIRST_PORT) -> list[int]:
    """`count` consecutive ports that are free now: MII numbers those of its ranks upwards."""
    for start in range(first, LAST_PORT):
        block = list(range(start, start + count))
        if all(map(_is_free, block)):
            return block
    raise RuntimeError(f"no {count} consecutive free ports from {first} to {LAST_PORT}")


def _read_token_ids(tokenizer: Any) -> None:
    """Let completions take prompts of token ids, as the OpenAI protocol has it."""
    from mii.entrypoints import data_models
    from pydantic import field_validator

    class CompletionRequest(data_models.CompletionRequest):
        @field_validator("prompt", mode="before")
        @classmethod
        def as_text(cls, prompt: Any) -> Any:
            is_ids = isinstance(prompt, list) and all(isinstance(part, int) for part in prompt)
            return tokenizer.decode(prompt) if is_ids else prompt

    data_models.CompletionRequest = CompletionRequest


def _watch(backend: Backend) -> None:
    while all(map(_runs, backend.processes)):
        time.sleep(POLL_S)
    _fail("the backend of DeepSpeed-MII has ended")


def _asked_to_end(_number: int, _frame: FrameType | None) -> NoReturn:
    _end(0)


def _fail(reason: str) -> NoReturn:
    print(f"RuntimeError: {reason}", file=sys.stderr, flush=True)
    _end(1)


def _end(code: int) -> NoReturn:
    """End every process that came of this one, then this one."""
    left = psutil.Process().children(recursive=True)
    for process in left:
        process.terminate()
    _, left = psutil.wait_procs(left, timeout=GRACE_S)
    for process in left:
        process.kill()
    os._exit(code)


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(POLL_S)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
        return True


if __name__ == "__main__":
    main(*sys.argv[1:])
