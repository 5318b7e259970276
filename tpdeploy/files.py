"""Where tpdeploy keeps things, and how a file is read and written whole."""

import codecs
import os
import stat
import tempfile
from pathlib import Path
from typing import BinaryIO

import platformdirs

from tpdeploy.errors import InputError, TpdeployError

PRIVATE_FOLDER, PRIVATE_FILE = 0o700, 0o600  # this user's alone
# Records and configs have a few megabytes at most; of larger ones the parser takes minutes.
MOST_RECORD_BYTES = 32 * 2**20
# YAML is slower by far: a plan for 1,000 replicas has a tenth of this.
MOST_YAML_BYTES = 4 * 2**20
# Tables, prompts and results with every request in them.
MOST_TABLE_BYTES = 512 * 2**20
UTF_16_AND_32 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)


def data_home() -> Path:
    """The folder of everything tpdeploy keeps (`TPDEPLOY_HOME`, else the user's data folder).

    Raises:
        InputError: TPDEPLOY_HOME is no possible folder.
    """
    chosen = os.environ.get("TPDEPLOY_HOME")
    if not chosen:
        return Path(platformdirs.user_data_dir("tpdeploy"))
    folder = home_of(chosen)
    if kind_of(folder) not in {"", "folder"}:
        raise InputError(f"TPDEPLOY_HOME={chosen} is not a folder")
    return folder


def home_of(name: str) -> Path:
    """The path `name` with a leading ~ as the folder that it stands for.

    Raises:
        InputError: it is the home of a user that there is not.
    """
    try:
        return Path(name).expanduser()
    except RuntimeError as error:
        raise InputError(f"{name}: there is no such user") from error


def kind_of(path: Path) -> str:
    """What is at `path`: "file", "folder", "other" (a pipe, a device), or "" for nothing.

    Raises:
        InputError: a name that no file can have, or a folder that may not be looked into.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {_reason(error)}") from error
    return "file" if stat.S_ISREG(mode) else "folder" if stat.S_ISDIR(mode) else "other"


def read_text(path: Path, most_bytes: int = MOST_RECORD_BYTES) -> str:
    """The text of a regular file of UTF-8, with or without a byte-order mark.

    Raises:
        InputError: no such file, one that cannot be read or is no regular file (a pipe would be
            waited for), one of more than `most_bytes`, or another encoding.
    """
    if kind_of(path) == "other":
        raise InputError(f"cannot read {path}: not a regular file; give a file on disk")
    try:
        with path.open("rb") as file:
            content = file.read(most_bytes + 1)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {_reason(error)}") from error
    if len(content) > most_bytes:
        raise InputError(f"cannot read {path}: larger than {most_bytes // 2**20} MiB")
    return decoded(content, str(path))


def decoded(content: bytes, name: str) -> str:
    """Bytes of UTF-8 as text, without the byte-order mark; `name` stands for them in errors.

    Raises:
        InputError: another encoding.
    """
    if content.startswith(UTF_16_AND_32):
        raise InputError(f"{name} is UTF-16 or UTF-32 text; save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{name} is not UTF-8 text: byte {error.start} is no part of it"
        ) from error


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def make_private(folder: Path) -> None:
    """Make `folder`, or take it as it is, and let no other user look into it.

    Raises:
        TpdeployError: it cannot be made, or belongs to somebody else.
    """
    try:
        folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
        folder.chmod(PRIVATE_FOLDER)
    except OSError as error:
        raise TpdeployError(f"cannot write {folder}: {_reason(error)}") from error


def is_private(path: Path) -> bool:
    """Whether no other user may read `path`, which need not exist.

    Raises:
        InputError: a name that no file can have, or in a folder that may not be looked into.
    """
    return not kind_of(path) or not path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)


def append_privately(path: Path) -> BinaryIO:
    """`path`, open to append to; no other user may read it.

    Raises:
        TpdeployError: it cannot be written.
    """
    try:
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, PRIVATE_FILE)
        os.fchmod(number, PRIVATE_FILE)
    except OSError as error:
        raise TpdeployError(f"cannot write {path}: {_reason(error)}") from error
    return os.fdopen(number, "ab")


def write_whole(path: Path, content: str | bytes) -> None:
    """Write `content` to `path` so that a reader sees the old file or the new one, never a part.

    Text is written as UTF-8.

    Raises:
        InputError: `path` is a folder, a device or a name that no file can have.
        TpdeployError: the file could not be written (disk full, no permission); `path` is as
            it was.
    """
    if kind_of(path) in {"folder", "other"}:
        raise InputError(f"cannot write {path}: not a regular file; name one, or a new one")
    temporary: Path | None = None
    try:
        path.parent.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=".tpdeploy.", delete=False
        ) as file:
            temporary = Path(file.name)
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, ValueError) as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise TpdeployError(
            f"cannot write {path}: {_reason(error)}; the old file, if any, is untouched"
        ) from error
