"""What HTTPS servers are checked against."""

import ssl
from functools import cache


@cache
def trusted() -> ssl.SSLContext:
    """The certificates of authorities, read once: httpx reads them for each client, in 40 ms.

    SSL_CERT_FILE and SSL_CERT_DIR name others, for a server with a certificate of its own.
    """
    # Imported where it is used: 0.1 s that a plan of a known model does without.
    import httpx  # noqa: PLC0415

    return httpx.create_ssl_context()
