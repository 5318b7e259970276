"""Manifests and scripts beside the pages are what tpdeploy makes, and what a cluster takes."""

import subprocess

import pytest
import yaml

from tests.launcher.orchestrators.schemas import check, containers
from tests.scripts import script

made = script("list_manifests")


@pytest.mark.parametrize("name", made.MANIFESTS)
@pytest.mark.slow
def test_the_manifests_of_the_page_are_current(name: str) -> None:
    """`python scripts/list_manifests.py` would change nothing."""
    text = (made.FOLDER / name).read_text()
    assert text == made.manifest(name)
    for each in yaml.safe_load_all(text):
        check(each)


@pytest.mark.parametrize("name", made.PLANNED_SCRIPTS)
def test_the_scripts_of_the_page_are_current(name: str) -> None:
    """Likewise, and bash takes them; nothing is in them of the machine that made them."""
    text = (made.SCRIPTS / name).read_text()
    assert text == made.script(name)
    subprocess.run(["/usr/bin/env", "bash", "-n"], input=text, text=True, check=True)
    assert str(made.DOCS.parent) not in text


def test_two_replicas_and_two_machines() -> None:
    """Llama twice on eight GPUs; DeepSeek once on twice eight, in two stages."""
    llama, deepseek = (
        list(yaml.safe_load_all((made.FOLDER / name).read_text())) for name in made.MANIFESTS
    )
    (replicas,) = [o for o in llama if o["metadata"]["name"] == "tpdeploy-llama-replica"][-1:]
    assert (replicas["kind"], replicas["spec"]["replicas"]) == ("Deployment", 2)
    (group,) = [o for o in deepseek if o["kind"] == "LeaderWorkerSet"]
    assert (group["spec"]["replicas"], group["spec"]["leaderWorkerTemplate"]["size"]) == (1, 2)
    for container in (*containers(replicas), *containers(group)):
        assert container["resources"]["limits"] == {"nvidia.com/gpu": "8"}
