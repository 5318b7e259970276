"""The front of a cluster, with the configuration that is in the manifest and a real Caddy."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import yaml

from tests.harness.standin import StandIn, serving
from tests.launcher.machine import eventually
from tests.launcher.orchestrators.cluster import Cluster
from tpdeploy.launcher import front
from tpdeploy.launcher.orchestrators.kubernetes.front import IMAGE
from tpdeploy.launcher.runtimes.ports import free_ports


def answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code > 0
    except httpx.HTTPError:
        return False


def configuration(cluster: Cluster, folder: Path, replicas: str, ports: list[int]) -> Path:
    """That of the manifest, with the ports and folders of this machine."""
    done = cluster.launch("--dry-run", TPDEPLOY_API_KEY="sk-client")
    objects = yaml.safe_load_all(done.stdout)
    (text,) = [o["data"]["caddy.json"] for o in objects if "caddy.json" in o.get("data", {})]
    host, _, port = replicas.removeprefix("http://").rpartition(":")
    assert '"name": "tpdeploy-default-replicas"' in text
    text = text.replace("tpdeploy-default-replicas", "localhost").replace('"8000"', f'"{port}"')
    for own, here in zip((8080, 8081), ports, strict=True):
        text = text.replace(f'":{own}"', f'"{host}:{here}"')
    text = text.replace("/keys/clients", str(folder / "clients")).replace('"/data', f'"{folder}')
    (folder / "clients").write_text("sk-client\nsk-other\n")
    (folder / "caddy.json").write_text(text)
    return folder / "caddy.json"


@contextmanager
def running(path: Path) -> Iterator[None]:
    program = [str(front.program()), "run", "--config", str(path)]
    env = {"TPDEPLOY_INNER_KEY": "inner", "HOME": str(path.parent)}
    with subprocess.Popen(program, env=env, stderr=subprocess.DEVNULL) as caddy:
        try:
            yield
        finally:
            caddy.terminate()


@pytest.mark.slow
def test_replicas_are_found_by_the_name_of_their_service(cluster: Cluster, tmp_path: Path) -> None:
    """Clients need a key, replicas see the deployment's own, the kubelet needs none."""
    ports = free_ports("127.0.0.1", 2)
    url, probe = (f"http://127.0.0.1:{port}" for port in ports)
    with (
        serving(StandIn(words=("Yes.",))) as replica,
        running(configuration(cluster, tmp_path, replica.url, ports)),
    ):
        eventually(lambda: answers(url))
        body = {"model": "m", "prompt": "x", "max_tokens": 1}
        for key, status in (("", 401), ("sk-wrong", 401), ("sk-client", 200), ("sk-other", 200)):
            headers = {"Authorization": f"Bearer {key}"} if key else {}
            answer = httpx.post(f"{url}/v1/completions", json=body, headers=headers)
            assert answer.status_code == status, answer.text
        assert {seen.key for seen in replica.seen} == {"Bearer inner"}
        assert httpx.get(probe).status_code == 200


def test_the_image_is_of_the_release_that_is_tested() -> None:
    """Its configuration changes from one to the next."""
    told = subprocess.run(
        [str(front.program()), "version"], capture_output=True, text=True, check=True
    )
    assert IMAGE.startswith(f"caddy:{told.stdout.split()[0].removeprefix('v')}-")


def test_without_a_key_it_is_closed(cluster: Cluster) -> None:
    """It listens where kubectl's port-forward alone comes in, unless the user insists."""
    for args, listens in (((), "127.0.0.1:8080"), (("--insecure",), ":8080")):
        done = cluster.launch("--dry-run", *args)
        (text,) = [
            o["data"]["caddy.json"]
            for o in yaml.safe_load_all(done.stdout)
            if "caddy.json" in o.get("data", {})
        ]
        assert json.loads(text)["apps"]["http"]["servers"]["front"]["listen"] == [listens]
