"""Who may use an endpoint: its keys, and where it may listen without one."""

import os
import re
import secrets
import ssl
from ipaddress import ip_address
from pathlib import Path

from tpdeploy.errors import InputError
from tpdeploy.files import is_private, kind_of, read_text, write_whole

INNER_KEY = "TPDEPLOY_INNER_KEY"  # between the front and the replicas
API_KEY = "TPDEPLOY_API_KEY"
# RFC 6750, section 2.1: what a bearer token is made of.
TOKEN_RULE = "keys consist of letters, digits and . _ ~ + / - ="  # noqa: S105 - words
MOST_KEY_BYTES = 2**20  # the front reads no more of a file
TOKEN = re.compile(r"[A-Za-z0-9._~+/-]{1,512}={0,8}")


def client_key() -> str | None:
    """The key that clients must show, from the environment.

    Raises:
        InputError: it is set and can be no key. An empty one would look like protection.
    """
    key = os.environ.get(API_KEY)
    if key is None:
        return None
    if not key:
        raise InputError(f"{API_KEY} is empty; unset it, or give it a key")
    if not TOKEN.fullmatch(key):
        raise InputError(f"{API_KEY}: {TOKEN_RULE}")
    return key


def read_keys(path: Path) -> tuple[str, ...]:
    """The keys of the file `path`, one per line: the front takes every line for a key.

    Raises:
        InputError: it cannot be read, others may read it, or it holds what can be no key.
    """
    keys = tuple(line for line in read_text(path, MOST_KEY_BYTES).split("\n") if line)
    if not is_private(path):
        raise InputError(f"--api-key-file {path}: others can read it; chmod 600 {path}")
    if not keys:
        raise InputError(f"--api-key-file {path} is empty; write one key on each line")
    wrong = next((n for n, key in enumerate(keys, 1) if not TOKEN.fullmatch(key)), None)
    if wrong:
        raise InputError(f"--api-key-file {path}: key {wrong}: {TOKEN_RULE}, one on each line")
    return keys


def generated_file(folder: Path) -> Path:
    """Where the key that was generated for the deployment in `folder` is kept."""
    return folder / "api-key"


def generate_key(folder: Path) -> None:
    """A new key for clients of the deployment in `folder`."""
    write_whole(generated_file(folder), f"sk-{secrets.token_urlsafe(32)}\n")


def check_certificate(certificate: Path, key: Path) -> None:
    """Check that a server can use `certificate` with `key`.

    Raises:
        InputError: it cannot; one of the files is missing or broken, or they are no pair.
    """
    if not is_private(key):
        raise InputError(f"--tls-key {key}: others can read it; chmod 600 {key}")
    try:
        # Without a password a prompt would be shown.
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
            certificate, key, password=""
        )
    except (OSError, ValueError) as error:  # of ssl's own, too
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"--tls-cert {certificate} with --tls-key {key}: {reason}") from error


def make_inner_key(folder: Path) -> str:
    """A new key that the replicas of the deployment in `folder` ask for, kept for who owns it."""
    key = secrets.token_urlsafe(32)
    write_whole(folder / "inner-key", key)
    return key


def inner_key(folder: Path) -> str:
    """The key that they were started with; earlier releases gave them none."""
    path = folder / "inner-key"
    return read_text(path) if kind_of(path) else ""


def check_host(host: str, *, insecure: bool) -> None:
    """Check that an endpoint without a key may listen on `host`.

    Raises:
        InputError: others than this machine's users would reach it.
    """
    if insecure or is_loopback(host):
        return
    raise InputError(
        f"--host {host} without a key lets in everyone who reaches it: set {API_KEY}, "
        "add --generate-key or --api-key-file, or insist with --insecure"
    )


def is_loopback(host: str) -> bool:
    """Whether `host` can be reached from its own machine alone."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
