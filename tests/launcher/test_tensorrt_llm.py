"""TensorRT-LLM's life cycle, with a stand-in that refuses what its contract does not list."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.launcher.downloads import seem_downloaded
from tests.launcher.machine import eventually, nothing_left
from tpdeploy.backends import tensorrt_llm
from tpdeploy.backends.metrics import EngineMetrics, Summed, read_metrics
from tpdeploy.launcher.environments import MARKER
from tpdeploy.launcher.runtimes.ports import free_ports
from tpdeploy.launcher.runtimes.processes import members
from tpdeploy.launcher.state import Deployment, log_of

pytestmark = pytest.mark.processes

HERE = Path(__file__).parent
CONTRACT = Path(tensorrt_llm.__file__).parent / "contracts" / "tensorrt-llm.yaml"
LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 512,
    "intermediate_size": 1024,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "vocab_size": 32000,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}


class Machine:
    """Two H100, as NVML tells of them, and the stand-in installed where the engine would be."""

    def __init__(self, folder: Path) -> None:
        self.home, packages = folder / "home", folder / "packages"
        packages.mkdir()
        shutil.copy(HERE / "standin_nvml.py", packages / "pynvml.py")
        spec = tensorrt_llm.ENVIRONMENT
        programs = self.home / "environments" / f"{spec.name}-{spec.version}" / "bin"
        programs.mkdir(parents=True)
        source = (HERE / "standin_trtllm.py").read_text()
        target = programs / spec.executable
        target.write_text(source.replace("/usr/bin/env python3", sys.executable, 1))
        target.chmod(0o755)
        (programs / "python").symlink_to(sys.executable)
        (programs.parent / MARKER).write_text("")
        ours = {"TPDEPLOY_HOME": str(self.home), "PYTHONPATH": str(packages), "COLUMNS": "80"}
        # The stand-in needs no weights: neither room for them nor the hub is asked for.
        seem_downloaded(folder / "hf", "meta-llama/Llama-3.1-8B-Instruct")
        ours |= {"HF_HOME": str(folder / "hf"), "HF_HUB_CACHE": "", "HF_HUB_OFFLINE": "1"}
        self.env = {**os.environ, **ours, "TRTLLM_CONTRACT": str(CONTRACT)}

    def run(self, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tpdeploy", *args],
            env={**self.env, **env},
            capture_output=True,
            text=True,
            check=False,
        )

    def planned(self, model: str) -> None:
        load = ["--concurrency", "2", "--input-tokens", "64", "--output-tokens", "8"]
        where = ["--gpus", "auto", "--tp", "2", "--backend", "tensorrt-llm"]
        done = self.run("plan", model, *where, *load)
        assert done.returncode == 0, done.stderr

    def launch(self, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
        (port,) = free_ports("127.0.0.1", 1)
        return self.run("launch", "--detach", "--port", str(port), *args, **env)

    def launched(self) -> Deployment:
        done = self.launch("--json")
        assert done.returncode == 0, done.stderr
        return Deployment.model_validate_json(done.stdout)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    made.planned("llama-8b")
    yield made
    if (made.home / "deployments").exists():
        made.run("stop")


def test_planned_launched_asked_measured_and_stopped(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole way; every argument and option is one that the contract lists."""
    deployment = machine.launched()
    asked = machine.run("query", "hello")
    assert "word" in asked.stdout, asked.stderr
    measured = machine.run("validate", "--requests", "8", "--warmup", "2", "--json")
    assert measured.returncode == 0, measured.stderr
    found = json.loads(measured.stdout)
    assert found["measured"]["requests"] == 8
    assert found["engine_ms"] == {"ttft": 125.0}
    monkeypatch.setenv("TPDEPLOY_HOME", str(machine.home))
    assert "TensorRT LLM version" in log_of("default", "replica-0").read_text()
    assert machine.run("stop").returncode == 0
    assert nothing_left(deployment)


def test_a_local_folder_is_asked_for_by_its_name(machine: Machine, tmp_path: Path) -> None:
    """There is no name for clients to choose: the engine serves a folder under the folder's."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(LLAMA))
    (folder / "model.safetensors").write_bytes(b"x")
    machine.planned(str(folder))
    machine.launched()
    assert "word" in machine.run("query", "hello").stdout


def test_a_killed_server_leaves_no_worker(machine: Machine) -> None:
    """Its child is ended with it."""
    deployment = machine.launched()
    leader = deployment.members[0].leader
    assert leader is not None
    os.kill(leader.pid, signal.SIGKILL)
    eventually(lambda: not members(leader))


def test_gpus_that_serve_are_refused_to_another_deployment(machine: Machine) -> None:
    """Seen before anything of it starts; the one that has them is named, and how to end it."""
    machine.launched()
    done = machine.launch("--name", "second")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "GPU(s) 0, 1 belong to the running deployment default; tpdeploy stop" in done.stderr
    assert not (machine.home / "deployments" / "second").exists()


def test_its_own_words_tell_why_it_ended(machine: Machine) -> None:
    """The engine's last error, not the last line of a log."""
    done = machine.launch(STANDIN_FAILS="1")
    assert done.returncode == 1
    assert "Executor worker returned error: out of stand-in memory" in done.stderr


def test_a_flag_of_another_release_is_refused(machine: Machine) -> None:
    """The stand-in keeps to the contract, and click's words reach the user."""
    done = machine.launch("--engine-arg=--telemetry")
    assert done.returncode == 1
    assert "No such option: --telemetry" in done.stderr


def test_a_release_without_its_metrics_names_the_key(machine: Machine) -> None:
    """1.0 does not know all of the options: the key is told, not that there was an error."""
    done = machine.launch(TRTLLM_RELEASE="1.0")
    assert done.returncode == 1
    assert "return_perf_metrics: Extra inputs are not permitted" in done.stderr


@pytest.mark.parametrize("argument", ["--tp_size=1", "--free_gpu_memory_fraction=0.5"])
def test_what_the_plan_sets_cannot_be_set_beside_it(machine: Machine, argument: str) -> None:
    """By either of its spellings; nothing is started."""
    done = machine.launch(f"--engine-arg={argument}")
    assert done.returncode == 2
    assert "is set by the plan" in done.stderr


def test_the_front_asks_for_the_key_that_it_has_not(machine: Machine) -> None:
    """It has no API key of its own."""
    done = machine.launch("--json", TPDEPLOY_API_KEY="secret")
    url = Deployment.model_validate_json(done.stdout).url + "/v1/models"
    headers = {"Authorization": "Bearer secret"}
    assert httpx.get(url, trust_env=False).status_code == 401
    assert httpx.get(url, headers=headers, trust_env=False).status_code == 200


@pytest.mark.parametrize("prefix", ["trtllm_", ""])
def test_metrics_come_in_names_of_ours(prefix: str) -> None:
    """Releases put `trtllm_` before every name or do not; what this one does not tell is None."""
    text = (HERE / "standin_trtllm.py").read_text().split('METRICS = """\\\n')[1].split('"""')[0]
    assert read_metrics(text.replace("trtllm_", prefix), tensorrt_llm.METRICS) == EngineMetrics(
        ttft=Summed(count=4, sum=0.5), kv_use=0.25
    )
