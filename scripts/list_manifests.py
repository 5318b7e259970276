"""What the pages on Kubernetes and machines show of two plans: `python scripts/list_manifests.py`.

Manifests for Kubernetes; the scripts of a replica for Slurm, and of its first machine over ssh.
"""

import json
import random
import tempfile
from pathlib import Path
from unittest.mock import patch

import typer
from typer.testing import CliRunner

from tpdeploy.cli.commands import launch, plan
from tpdeploy.files import write_whole
from tpdeploy.launcher.runtimes import ssh

DOCS = Path(__file__).resolve().parents[1] / "docs"
FOLDER, SCRIPTS = DOCS / "kubernetes", DOCS / "machines"
ON = ("--on", "kubernetes", "--namespace", "serving", "--volume", "pvc:models/hub")
# By the name of the file: what is planned, and the name of the deployment.
PLANS = {
    "llama-70b": (
        ("llama-70b", "--gpus", "2x8xH100", "--backend", "vllm", "--tp", "8", "--replicas", "2"),
        "llama",
    ),
    "deepseek-r1": (
        ("deepseek-r1", "--gpus", "2x8xH200", "--backend", "vllm", "--tp", "8", "--pp", "2"),
        "deepseek",
    ),
}
MANIFESTS = [f"{name}.yaml" for name in PLANS]
# By runtime, what names it, and which of its files is shown.
RUNTIMES = {"slurm": ("slurm", "job.sh"), "ssh": ("ssh:10.0.0.1,10.0.0.2", "machine-0.sh")}
PLANNED_SCRIPTS = [f"{name}.{runtime}.sh" for name in PLANS for runtime in RUNTIMES]
HOME = "/shared/tpdeploy"  # of the user whose scripts they would be


def manifest(file: str) -> str:
    """The manifest in that file, as tpdeploy makes it now."""
    planned, deployment = PLANS[file.removesuffix(".yaml")]
    with tempfile.TemporaryDirectory() as home:
        variables = {"TPDEPLOY_HOME": home, "TPDEPLOY_API_KEY": "sk-of-the-docs"}
        _run(plan.app, planned, variables)
        path = Path(home) / file
        _run(launch.app, (*ON, "--name", deployment, "--output", str(path)), variables)
        return path.read_text(encoding="utf-8")


def script(file: str) -> str:
    """The script in that file, likewise: of the first replica."""
    name, runtime, _ = file.split(".")
    planned, deployment = PLANS[name]
    on, shown = RUNTIMES[runtime]
    words = ("--on", on, "--name", deployment, "--dry-run", "--json")
    with tempfile.TemporaryDirectory() as home:
        _run(plan.app, planned, {"TPDEPLOY_HOME": home})
        random.seed(0)  # over ssh ports are drawn
        with patch.object(ssh, "address_of", lambda name: name):
            told = _run(launch.app, words, {"TPDEPLOY_HOME": home})
        files = json.loads(told)["commands"][0]["files"]
        (text,) = [text for path, text in files.items() if Path(path).name == shown]
        return str(text).replace(home, HOME)


def _run(app: typer.Typer, words: tuple[str, ...], variables: dict[str, str]) -> str:
    done = CliRunner().invoke(app, [*words], env=variables, catch_exceptions=False)
    if done.exit_code:
        raise SystemExit(done.output)
    return done.stdout


if __name__ == "__main__":
    for folder in (FOLDER, SCRIPTS):
        folder.mkdir(exist_ok=True)
    for each in MANIFESTS:
        write_whole(FOLDER / each, manifest(each))
    for each in PLANNED_SCRIPTS:
        write_whole(SCRIPTS / each, script(each))
