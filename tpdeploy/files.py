"""Where tpdeploy keeps things, and how a file is written whole."""

import os
import tempfile
from pathlib import Path

import platformdirs

from tpdeploy.errors import TpdeployError


def data_home() -> Path:
    """The folder of everything tpdeploy keeps (`TPDEPLOY_HOME`, else the user's data folder)."""
    chosen = os.environ.get("TPDEPLOY_HOME")
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_data_dir("tpdeploy"))


def write_whole(path: Path, text: str) -> None:
    """Write `text` to `path` so that a reader sees the old file or the new one, never a part.

    Raises:
        TpdeployError: the file could not be written (disk full, no permission); `path` is as
            it was.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            temporary = Path(file.name)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise TpdeployError(
            f"cannot write {path}: {error.strerror or error}; the old file, if any, is untouched"
        ) from error
