"""The HTTP client every measurement uses, and the first question to any endpoint."""

import ipaddress
import os
import re
import resource
import ssl
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path

import httpx

from tpdeploy.errors import InputError, TpdeployError

CONNECT_TIMEOUT_S = 5.0
# Between two pieces of a stream. A long prompt on a busy CPU takes minutes to its first token.
READ_TIMEOUT_S = 300.0
# The transport repeats the address before its reason.
CONNECTING = re.compile(r"Cannot connect to host \S+ ssl:\S+ \[(.+)\]")
# Servers close idle connections after 5 s (uvicorn's default); ours are given up well before,
# else a request is now and then sent into a connection that is just being closed.
KEEPALIVE_S = 2.0
# What is called when the body of a request of this task goes out. Where many requests start at
# once that is milliseconds after they were asked for: before Python 3.12 the transport leaves the
# body to a task that waits for all that are ready.
on_sent: ContextVar[Callable[[], None] | None] = ContextVar("on_sent", default=None)


def allow_many_connections() -> None:
    """Raise this process's limit of open files, often 1,024, to what the system allows."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def key_from_environment() -> str | None:
    """The endpoint's API key: TPDEPLOY_API_KEY, else OPENAI_API_KEY, else none."""
    return os.environ.get("TPDEPLOY_API_KEY") or os.environ.get("OPENAI_API_KEY")


def open_client(
    url: str, api_key: str | None = None, certificate: Path | None = None
) -> httpx.AsyncClient:
    """A client for the OpenAI-compatible endpoint at `url` (with or without a final /v1).

    `certificate` is the endpoint's own, if that is known: it is trusted, whoever signed it.
    Proxies of the environment are not used: their latency would be measured along.

    Raises:
        InputError: `url` is not an http(s) address, or would carry the key in clear text.
    """
    address = _address(url)
    if api_key and address.scheme == "http" and not _is_private(address.host):
        raise InputError(
            f"{url}: the API key in the environment would travel unencrypted; use https"
        )
    return httpx.AsyncClient(
        base_url=address,
        headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
        timeout=httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
        transport=_transport(certificate),
        trust_env=False,
    )


def _transport(certificate: Path | None) -> httpx.AsyncBaseTransport:
    """aiohttp below httpx reads events at a third of the cost: at 256 streams that is measured."""
    # Imported where it is used: 0.2 s that only a measurement needs.
    from aiohttp import ClientSession, TCPConnector, TraceConfig  # noqa: PLC0415
    from httpx_aiohttp import AiohttpTransport  # noqa: PLC0415

    trace = TraceConfig()
    trace.on_request_chunk_sent.append(_tell_sent)

    def session() -> ClientSession:
        trust = _trust(certificate) if certificate else True
        connector = TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_S, ssl=trust)
        return ClientSession(connector=connector, trace_configs=[trace])

    # The session has its own trust. Without a context httpx reads all certificates for another.
    unused = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return AiohttpTransport(verify=unused, client=session, trust_env=False)


def _trust(certificate: Path) -> ssl.SSLContext:
    """A context that trusts `certificate` under any host name."""
    trust = ssl.create_default_context(cafile=str(certificate))
    trust.check_hostname = False
    trust.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return trust


async def _tell_sent(*_: object) -> None:
    if tell := on_sent.get():
        tell()


async def served_models(client: httpx.AsyncClient) -> tuple[str, ...]:
    """The model names the endpoint answers to.

    Raises:
        TpdeployError: nothing answers there, or what answers is no OpenAI-compatible server.
    """
    try:
        response = await client.get("/v1/models")
        response.raise_for_status()
        names = tuple(str(model["id"]) for model in response.json()["data"])
    except httpx.HTTPStatusError as error:
        status = error.response.status_code
        hint = "; set TPDEPLOY_API_KEY" if status in {401, 403} else ""
        raise TpdeployError(f"{error.request.url} answered {status}{hint}") from error
    except httpx.HTTPError as error:
        found = CONNECTING.fullmatch(str(error))
        reason = (found[1] if found else str(error)) or type(error).__name__
        raise TpdeployError(f"nothing answers at {client.base_url}: {reason}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise TpdeployError(f"{client.base_url} is no OpenAI-compatible endpoint") from error
    if not names:
        raise TpdeployError(f"{client.base_url} serves no model")
    return names


def _address(url: str) -> httpx.URL:
    try:
        address = httpx.URL(url.rstrip("/").removesuffix("/v1"))
    except httpx.InvalidURL as error:
        raise InputError(
            f"{url}: {error}; give an address such as http://127.0.0.1:8000"
        ) from error
    if address.scheme not in {"http", "https"} or not address.host:
        raise InputError(f"{url}: give an address such as http://127.0.0.1:8000")
    return address


def _is_private(host: str) -> bool:
    """Whether `host` is this machine or an address or name of a private network."""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return "." not in host
