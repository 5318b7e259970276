"""What HTTPS servers are checked against."""

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ssl import SSLContext


@cache
def trusted() -> "SSLContext":
    """The certificates of authorities, read once: httpx reads them for each client, in 40 ms.

    SSL_CERT_FILE and SSL_CERT_DIR name others, for a server with a certificate of its own.
    """
    # Imported where it is used, and with it ssl: 0.1 s that a plan of a known model does without.
    import httpx  # noqa: PLC0415

    return httpx.create_ssl_context()
