"""The manifests that docs/kubernetes.md shows, of two plans: `python scripts/list_manifests.py`."""

import tempfile
from pathlib import Path

import typer
from typer.testing import CliRunner

from tpdeploy.cli.commands import launch, plan
from tpdeploy.files import write_whole

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "kubernetes"
ON = ("--on", "kubernetes", "--namespace", "serving", "--volume", "pvc:models/hub")
# By the name of the file: what is planned, and the name of the deployment.
MANIFESTS = {
    "llama-70b.yaml": (
        ("llama-70b", "--gpus", "2x8xH100", "--backend", "vllm", "--tp", "8", "--replicas", "2"),
        "llama",
    ),
    "deepseek-r1.yaml": (
        ("deepseek-r1", "--gpus", "2x8xH200", "--backend", "vllm", "--tp", "8", "--pp", "2"),
        "deepseek",
    ),
}


def manifest(name: str) -> str:
    """The manifest in that file, as tpdeploy makes it now."""
    planned, deployment = MANIFESTS[name]
    with tempfile.TemporaryDirectory() as home:
        variables = {"TPDEPLOY_HOME": home, "TPDEPLOY_API_KEY": "sk-of-the-docs"}
        _run(plan.app, planned, variables)
        path = Path(home) / name
        _run(launch.app, (*ON, "--name", deployment, "--output", str(path)), variables)
        return path.read_text(encoding="utf-8")


def _run(app: typer.Typer, words: tuple[str, ...], variables: dict[str, str]) -> None:
    done = CliRunner().invoke(app, [*words], env=variables, catch_exceptions=False)
    if done.exit_code:
        raise SystemExit(done.output)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for each in MANIFESTS:
        write_whole(FOLDER / each, manifest(each))
