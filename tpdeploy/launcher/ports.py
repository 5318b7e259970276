"""TCP ports: whether one is free, and finding free ones."""

import socket

import psutil

from tpdeploy.errors import InputError


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen on `host`:`port` now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: connections of an earlier server that still linger are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def free_ports(host: str, count: int) -> list[int]:
    """`count` different ports that are free now."""
    probes = [socket.socket(socket.AF_INET, socket.SOCK_STREAM) for _ in range(count)]
    try:
        for probe in probes:
            probe.bind((host, 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def check_port(host: str, port: int) -> None:
    """Nothing, if `host`:`port` is free.

    Raises:
        InputError: it is taken, or is no port; the message names the holder and a free port.
    """
    if not 1 <= port <= 65535:
        raise InputError(f"--port {port}: ports go from 1 to 65535")
    try:
        socket.getaddrinfo(host, port, family=socket.AF_INET)
    except socket.gaierror as error:
        raise InputError(f"--host {host}: {error.strerror}; 127.0.0.1 is this machine") from error
    if not is_free(host, port):
        (free,) = free_ports(host, 1)
        raise InputError(f"--port {port} on {host} is taken{_holder(port)}; {free} is free")


def _holder(port: int) -> str:
    """` by NAME (PID)` of the process that listens on `port`, if this user may see it."""
    try:
        for connection in psutil.net_connections("tcp"):
            here = getattr(connection.laddr, "port", None) == port
            if here and connection.status == psutil.CONN_LISTEN and connection.pid:
                return f" by {psutil.Process(connection.pid).name()} ({connection.pid})"
    except psutil.Error:
        pass
    return ""
