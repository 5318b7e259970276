"""TCP ports: whether one is free, and finding free ones."""

import errno
import random
import socket
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice

import psutil

from tpdeploy.errors import InputError

LOOPBACK = "127.0.0.1"
EVERYWHERE = "0.0.0.0"  # noqa: S104 - to be told apart, not to listen on
PORTS = range(1, 65536)
# Of endpoints whose port nobody has stated.
FIRST_PORT, PORTS_TRIED = 8000, 100
# Below the range of connections (ip_local_port_range, from 32768) and of Kubernetes' NodePorts.
DRAWN = range(20000, 30000)


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen on `host`:`port` now."""
    return port in PORTS and _refusal(host, port) is None


def free_from(host: str, first: int = FIRST_PORT, tries: int = PORTS_TRIED) -> Iterator[int]:
    """The ports from `first` on, of `tries`, on which a server could listen now."""
    return (port for port in range(first, first + tries) if is_free(host, port))


def free_ports(host: str, count: int) -> list[int]:
    """`count` different ports that are free now, of those that no connection is given.

    Engines listen a minute after their port was chosen: by then the kernel could have given one
    of its own range to somebody else.
    """
    drawn = random.sample(DRAWN, len(DRAWN))
    return list(islice((port for port in drawn if is_free(host, port)), count))


def claim(port: int) -> socket.socket | None:
    """A hold on `port` that every launch on this machine respects; None if another one has it.

    Engines listen when they are ready, minutes after their port was chosen. The hold is a name
    that the kernel keeps as long as any process has the socket: none is left behind.
    """
    hold = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        hold.bind(f"\0tpdeploy-port-{port}")
    except OSError:
        hold.close()
        return None
    return hold


def check_port(host: str, port: int) -> None:
    """Check that `host`:`port` is free.

    Raises:
        InputError: it is taken, or cannot be; the message names the holder and a free port.
    """
    if port not in PORTS:
        raise InputError(f"--port {port}: ports go from 1 to 65535")
    refusal = _refusal(host, port)
    if refusal is None:
        return
    if refusal.errno == errno.EADDRINUSE:
        (free,) = free_ports(host, 1)
        raise InputError(f"--port {port} on {host} is taken{_holder(port)}; {free} is free")
    if refusal.errno == errno.EACCES:
        raise InputError(f"--port {port}: this user may not listen there; above 1023 anyone may")
    raise InputError(f"--host {host}: {refusal.strerror}; 127.0.0.1 is this machine")


def _refusal(host: str, port: int) -> OSError | None:
    """Why a server could not listen on `host`:`port` now; None if it could."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: connections of an earlier server that still linger are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error
        return None


def listeners(port: int) -> list[psutil.Process]:
    """The processes that listen on `port`, as far as this user may see them.

    There can be several: engines share a port with whoever else is willing to.
    """
    try:
        connections = psutil.net_connections("tcp")
        pids = {
            connection.pid
            for connection in connections
            if getattr(connection.laddr, "port", None) == port
            and connection.status == psutil.CONN_LISTEN
        }
        return [psutil.Process(pid) for pid in pids if pid]
    except psutil.Error:
        return []


def is_connected(port: int) -> bool:
    """Whether a server on `port` has a connection."""
    return any(
        getattr(connection.laddr, "port", None) == port
        and connection.status == psutil.CONN_ESTABLISHED
        for connection in psutil.net_connections("tcp")
    )


def is_connected_to(host: str, port: int) -> bool:
    """Whether a process of this machine has a connection to `host`:`port`."""
    with suppress(OSError):
        addresses = {found[4][0] for found in socket.getaddrinfo(host, port, socket.AF_INET)}
        return any(
            connection.raddr
            and connection.raddr.port == port
            and connection.raddr.ip in addresses
            and connection.status == psutil.CONN_ESTABLISHED
            for connection in psutil.net_connections("tcp")
        )
    return False


def _holder(port: int) -> str:
    """` by NAME (PID)` of the process that listens on `port`, if this user may see it."""
    return "".join(f" by {process.name()} ({process.pid})" for process in listeners(port)[:1])
