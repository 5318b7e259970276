"""Writing a report, where the libraries that draw it are installed."""

from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

from tpdeploy.cli.report.content import Content
from tpdeploy.errors import InputError
from tpdeploy.files import write_whole

NEEDED = ("jinja2", "matplotlib")


def check_report(path: Path | None) -> None:
    """Nothing, if a report can be written to `path`, or none is wanted.

    Raises:
        InputError: a library is missing, or `path` is a folder.
    """
    if path is None:
        return
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise InputError(
            f"--report needs {' and '.join(missing)}; install: pip install 'tpdeploy[report]'"
        )
    if path.is_dir():
        raise InputError(f"--report {path}: is a folder; name a file, as report.html")


def write_report(path: Path, content: Content) -> None:
    """Write `content` as one HTML file.

    Raises:
        TpdeployError: the file cannot be written.
    """
    from tpdeploy.cli.report.page import render  # noqa: PLC0415 - matplotlib takes half a second

    write_whole(path, render(content, datetime.now(UTC)))
