"""Commands of tpdeploy run in this process, which is quicker than a new one."""

import contextlib
import io
import os
import sys
from pathlib import Path
from subprocess import CompletedProcess
from unittest import mock

from tpdeploy.cli.main import main
from tpdeploy.cli.output import err, out


def tpdeploy(
    *args: str, home: Path | None = None, width: int = 80, **env: str
) -> CompletedProcess[str]:
    """What `tpdeploy ARGS` writes and its exit code, without API keys of the environment."""
    kept = {key: value for key, value in os.environ.items() if not key.endswith("_API_KEY")}
    at = {"TPDEPLOY_HOME": str(home)} if home else {}
    written, told, code = io.StringIO(), io.StringIO(), 0
    with (
        mock.patch.object(sys, "argv", ["tpdeploy", *args]),
        mock.patch.dict(os.environ, {**kept, "COLUMNS": str(width), **at, **env}, clear=True),
        mock.patch.object(out, "_width", width),
        mock.patch.object(err, "_width", width),
        contextlib.redirect_stdout(written),
        contextlib.redirect_stderr(told),
    ):
        try:
            main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return CompletedProcess(args, code, written.getvalue(), told.getvalue())


def answered(*args: str, code: int = 0, width: int = 100) -> str:
    """What a command wrote on stdout before it ended with `code`."""
    result = tpdeploy(*args, width=width)
    assert result.returncode == code, result.stderr
    return result.stdout


def refused(*args: str, home: Path | None = None, code: int = 2) -> str:
    """The one line a refused command wrote on stderr."""
    result = tpdeploy(*args, home=home)
    assert result.returncode == code, result.stderr
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr.strip()
