"""The real DeepSpeed-MII on a CPU: what we render is valid to it, its front serves, it ends clean.

The engine itself needs a GPU: in place of mii.serve stands a gRPC server with MII's own protocol.
"""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from tpdeploy.backends.base import Site
from tpdeploy.backends.deepspeed_mii import CONFIG, PROGRAM, DeepSpeedMiiBackend
from tpdeploy.backends.meaning import example_plan
from tpdeploy.backends.vllm import VllmBackend
from tpdeploy.launcher.environments import find_environment
from tpdeploy.launcher.runtimes.ports import free_ports, is_free
from tpdeploy.launcher.runtimes.processes import Leader, end_sessions, members, start
from tpdeploy.launcher.small_model import engine_python, prepare_smollm2
from tpdeploy.planner.plan import DeploymentPlan

pytestmark = pytest.mark.engine

ENGINE = DeepSpeedMiiBackend()
VALIDATE = """
import json, sys
from mii.api import _parse_kwargs_to_mii_config
config = json.load(open(sys.argv[1]))
made = _parse_kwargs_to_mii_config(
    config["model"], deployment_name="d", device_map=[config["devices"]], port_number=50050,
    torch_dist_port=29500, zmq_port_number=25555, enable_restful_api=False, **config["serve"])
print(json.dumps(made.model_conf.model_dump(mode="json")))
"""
# The program of ours with another backend: MII's protocol, answering with the prompt's length.
STAND_IN = """
import sys
sys.path.insert(0, sys.argv.pop(1))
import mii_server
BACKEND = '''
import sys
from concurrent import futures
import grpc
from mii.grpc_related.proto import modelresponse_pb2 as p, modelresponse_pb2_grpc as g
class Echo(g.ModelResponseServicer):
    def GeneratorReply(self, request, context):
        return p.MultiGenerationReply(response=[self.one(r, "stop") for r in request.request])
    def GeneratorReplyStream(self, request, context):
        for index in range(3):
            reason = "stop" if index == 2 else "none"
            yield p.MultiGenerationReply(response=[self.one(request.request[0], reason)])
    def one(self, text, reason):
        return p.SingleGenerationReply(response=f"{len(text)} ", finish_reason=reason,
            prompt_tokens=len(text), generated_tokens=1)
server = grpc.server(futures.ThreadPoolExecutor())
g.add_ModelResponseServicer_to_server(Echo(), server)
server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
server.start()
server.wait_for_termination()
'''
def start_backend(config):
    import psutil, subprocess, time
    (port,) = mii_server.free_block(1)
    child = subprocess.Popen([sys.executable, "-c", BACKEND, str(port)])
    backend = mii_server.Backend([psutil.Process(child.pid)], [port])
    while not backend.lives():
        time.sleep(0.2)
    return backend
mii_server.start_backend = start_backend
mii_server.main(*sys.argv[1:])
"""


@pytest.fixture(scope="module")
def python() -> Path:
    """The Python of MII's own environment."""
    found = find_environment(ENGINE.environment("cuda"))
    assert found, "run: tpdeploy backends install deepspeed-mii --platform cuda"
    return found.python


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a config and a real tokenizer, no weights."""
    source = prepare_smollm2(engine_python())
    folder = tmp_path_factory.mktemp("models") / "small"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        if (source / name).exists():
            shutil.copy(source / name, folder)
    return folder


def written(made: DeploymentPlan, folder: Path, port: int) -> dict[str, str]:
    """The files of the first replica, written; the environment that goes with them."""
    command = ENGINE.render(made, made.placement[0], Site("127.0.0.1", str(port), folder))
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in command.files.items():
        (folder / name).write_text(text)
    return dict(command.env)


def small_plan(model: Path, devices: int = 1) -> DeploymentPlan:
    parts = example_plan(ENGINE).model_dump()
    parts["model"] |= {"path": str(model), "id": "small"}
    parts["parallelism"]["tensor"] = devices
    parts["placement"] = [{"replica": 0, "devices": tuple(range(devices))}]
    return DeploymentPlan.model_validate(parts)


@pytest.fixture
def served(python: Path, model: Path, tmp_path: Path) -> Iterator[tuple[str, Leader]]:
    """Our server with a stand-in backend, ready."""
    (port,) = free_ports("127.0.0.1", 1)
    env = written(small_plan(model), tmp_path / "replica-0", port)
    config = str(tmp_path / "replica-0" / CONFIG)
    argv = [str(python), "-c", STAND_IN, str(PROGRAM.parent), config, "127.0.0.1", str(port)]
    process, leader = start(argv, {**env, "MII_API_KEY": "secret"}, tmp_path / "log")
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(url, process, tmp_path / "log")
        yield url, leader
    finally:
        end_sessions(leader, grace_s=0.0)
        process.wait()


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()[-3000:]
        try:
            if httpx.get(f"{url}/health").status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.5)
    raise AssertionError(log.read_text()[-3000:])


@pytest.mark.parametrize("engine", [ENGINE, VllmBackend()], ids=["own plan", "vllm's plan"])
def test_its_own_configuration_takes_every_number(
    python: Path, tmp_path: Path, engine: VllmBackend | DeepSpeedMiiBackend
) -> None:
    """MII's and DeepSpeed's own classes read what we render, and mean the same by it."""
    made = example_plan(engine)
    written(made, tmp_path, 8001)
    command = [str(python), "-c", VALIDATE, str(tmp_path / CONFIG)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    read = json.loads(done.stdout.splitlines()[-1])
    manager = read["inference_engine_config"]["state_manager"]
    assert read["tensor_parallel"] == made.parallelism.tensor
    assert read["inference_engine_config"]["tensor_parallel"]["tp_size"] == made.parallelism.tensor
    assert read["device_map"] == {"localhost": [list(made.placement[0].devices)]}
    assert read["max_length"] == manager["max_context"] == made.limits.max_model_len
    assert manager["max_ragged_batch_size"] == made.limits.max_num_batched_tokens
    assert manager["max_ragged_sequence_count"] == made.limits.max_num_seqs
    assert manager["memory_config"]["mode"] == "reserve"


def test_its_front_serves_the_models_name(served: tuple[str, Leader]) -> None:
    """Text and token ids, streamed and whole; with the key, and not without."""
    url, _ = served
    key = {"Authorization": "Bearer secret"}
    assert httpx.get(f"{url}/v1/models").status_code == 401
    for path in ("/api/v1/chat/completions", "/api/v1/token_check", "/docs", "/openapi.json"):
        assert httpx.post(url + path, json={}).status_code == 404
    (shown,) = httpx.get(f"{url}/v1/models", headers=key).json()["data"]
    assert shown["id"] == "small"
    asked = {"model": "small", "prompt": "hello", "max_tokens": 3}
    whole = httpx.post(f"{url}/v1/completions", json=asked, headers=key, timeout=60).json()
    assert whole["choices"][0]["text"] == "5 "
    ids = {**asked, "prompt": [28120, 905], "stream": True}
    streamed = httpx.post(f"{url}/v1/completions", json=ids, headers=key, timeout=60).text
    assert streamed.count('"text"') == 3
    assert streamed.rstrip().endswith("data: [DONE]")
    chat = {"model": "small", "messages": [{"role": "user", "content": "hello"}]}
    answer = httpx.post(f"{url}/v1/chat/completions", json=chat, headers=key, timeout=60).json()
    assert answer["choices"][0]["message"]["role"] == "assistant"


def test_a_dead_backend_is_no_health_and_the_end(served: tuple[str, Leader]) -> None:
    """The front says so at once, ends by itself, and leaves nothing."""
    url, leader = served
    (backend,) = psutil.Process(leader.pid).children()
    os.kill(backend.pid, signal.SIGKILL)
    deadline = time.monotonic() + 30
    with suppress(psutil.NoSuchProcess):
        while backend.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)  # the signal is on its way
    while members(leader) and time.monotonic() < deadline:
        told = None
        try:
            told = httpx.get(f"{url}/health", timeout=5).status_code
        except httpx.HTTPError:
            time.sleep(0.1)
        assert told in {None, 503}
    assert not members(leader)


def test_without_a_gpu_it_says_so_and_leaves_nothing(
    python: Path, model: Path, tmp_path: Path
) -> None:
    """The real mii.serve fails here; our server ends what it started and the reason is found."""
    (port,) = free_ports("127.0.0.1", 1)
    env = written(small_plan(model), tmp_path / "replica-0", port)
    argv = [str(python), str(PROGRAM), str(tmp_path / "replica-0" / CONFIG)]
    process, leader = start(
        argv, {"PATH": f"{python.parent}:{os.environ['PATH']}", **env}, tmp_path / "log"
    )
    try:
        assert process.wait(timeout=180) == 1
        assert members(leader) == []
    finally:
        end_sessions(leader, grace_s=0.0)
    reason = ENGINE.failure((tmp_path / "log").read_text().splitlines())
    assert reason is not None, (tmp_path / "log").read_text()[-2000:]
    print(reason)
    assert is_free("127.0.0.1", 50050)
