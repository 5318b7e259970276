"""Who may use an endpoint: the clients' key, and where it may listen without one."""

import os
import re
from ipaddress import ip_address

from tpdeploy.errors import InputError

API_KEY = "TPDEPLOY_API_KEY"
# RFC 6750, section 2.1: what a bearer token is made of.
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
        raise InputError(f"{API_KEY}: keys consist of letters, digits and . _ ~ + / - =")
    return key


def check_host(host: str, *, insecure: bool) -> None:
    """Nothing, if an endpoint without a key may listen on `host`.

    Raises:
        InputError: others than this machine's users would reach it.
    """
    if insecure or _is_loopback(host):
        return
    raise InputError(
        f"--host {host} without a key lets in everyone who reaches it: set {API_KEY}, "
        "or insist with --insecure"
    )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
