"""Commands of tpdeploy as a user runs them, each a process."""

import os
import subprocess
import sys


def tpdeploy(*args: str, code: int = 0, **env: str) -> str:
    """What `tpdeploy ARGS` wrote on stdout, before it ended with `code`."""
    command = [sys.executable, "-m", "tpdeploy", *args]
    result = subprocess.run(
        command, env={**os.environ, **env}, capture_output=True, text=True, check=False
    )
    assert result.returncode == code, result.stderr
    return result.stdout


def stop(name: str) -> None:
    """End the deployment called `name`, if it still runs."""
    command = [sys.executable, "-m", "tpdeploy", "stop", "--name", name]
    subprocess.run(command, capture_output=True, check=False)
