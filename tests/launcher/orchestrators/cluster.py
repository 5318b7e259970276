"""A cluster that is none, and the user's commands before it."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cli.commands import tpdeploy
from tpdeploy.files import write_whole
from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.records import dump_record

ROOT = Path(__file__).parents[3]
KUBECTL = Path(__file__).with_name("standin_kubectl.py")


@dataclass
class Cluster:
    """The folder of the stand-in for kubectl, a home for tpdeploy, and a plan in it."""

    folder: Path
    home: Path

    def __post_init__(self) -> None:
        own = self.folder / "bin"
        own.mkdir(parents=True)
        self.home.mkdir()
        script = f"#!{sys.executable}\n" + KUBECTL.read_text().partition("\n")[2]
        (own / "kubectl").write_text(script)
        (own / "kubectl").chmod(0o755)

    @property
    def variables(self) -> dict[str, str]:
        return {
            "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "STANDIN_KUBECTL": str(self.folder),
        }

    def plan(self, plan: DeploymentPlan) -> None:
        write_whole(self.home / "plan.yaml", dump_record(plan))

    def run(self, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
        """A command in this process."""
        return tpdeploy(*args, home=self.home, width=200, **{**self.variables, **env})

    def launch(self, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
        return self.run("launch", "--on", "kubernetes", *args, **env)

    def started(self, *args: str, **env: str) -> "subprocess.Popen[str]":
        """A command in a process of its own, which can be interrupted."""
        home = {"TPDEPLOY_HOME": str(self.home)}
        return subprocess.Popen(
            [sys.executable, "-m", "tpdeploy", *args],
            env={**os.environ, **self.variables, **home, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def set(self, name: str, text: str = "") -> None:
        (self.folder / name).write_text(text)

    def unset(self, name: str) -> None:
        (self.folder / name).unlink()

    def objects(self) -> list[dict[str, Any]]:
        path = self.folder / "objects.json"
        found: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []
        return found

    def commands(self) -> str:
        """What kubectl was asked."""
        return (self.folder / "commands.log").read_text()
