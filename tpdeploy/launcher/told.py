"""What other programs say when they are asked, within a time."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tpdeploy.errors import TpdeployError


def told(
    argv: Sequence[str],
    timeout_s: float,
    *,
    stdin: str = "",
    variables: Mapping[str, str] | None = None,
) -> "subprocess.CompletedProcess[str]":
    """What a program says that reads `stdin` and has `variables` besides those of this process.

    Raises:
        TpdeployError: it cannot be run, or gives no answer.
    """
    name = Path(argv[0]).name
    try:
        return subprocess.run(
            argv,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
            env={**os.environ, **(variables or {})},
        )
    except OSError as error:
        raise TpdeployError(f"{name} cannot be run: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise TpdeployError(f"{name} gave no answer for {timeout_s:g} s") from error
