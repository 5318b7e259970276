"""Commands of tpdeploy run in this process, which is quicker than a new one."""

import contextlib
import io
import sys
from unittest import mock

import pytest

from tpdeploy.cli.main import main


def answered(*args: str, code: int = 0, width: int = 100) -> str:
    """What a command wrote on stdout before it ended with `code`."""
    return _run(args, code, width)[0]


def refused(*args: str, code: int = 2) -> str:
    """The one line a refused command wrote on stderr."""
    (line,) = _run(args, code, 80)[1].strip().splitlines()
    return line


def _run(args: tuple[str, ...], code: int, width: int) -> tuple[str, str]:
    written, told = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["tpdeploy", *args]),
        mock.patch.dict("os.environ", {"COLUMNS": str(width)}),
        contextlib.redirect_stdout(written),
        contextlib.redirect_stderr(told),
    ):
        try:
            main()
        except SystemExit as ended:
            assert (ended.code or 0) == code, told.getvalue()
        else:
            pytest.fail("the command did not exit")
    return written.getvalue(), told.getvalue()
