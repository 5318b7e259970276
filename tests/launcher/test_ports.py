"""A port is free, or it is said who has it and which one is free."""

import os
import re
import socket
from collections.abc import Iterator

import pytest

from tpdeploy.errors import InputError
from tpdeploy.launcher.runtimes.ports import LOOPBACK, check_port, claim, free_ports, is_free


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which this process listens."""
    with socket.create_server((LOOPBACK, 0)) as server:
        yield server.getsockname()[1]


def test_a_taken_port_is_refused_with_its_holder_and_a_free_one(taken: int) -> None:
    """The process is named with its number, and the port offered does work."""
    with pytest.raises(
        InputError, match=rf"--port {taken} .* taken by .*\({os.getpid()}\)"
    ) as told:
        check_port(LOOPBACK, taken)
    offered = re.search(r"(\d+) is free$", str(told.value))
    assert offered is not None
    assert is_free(LOOPBACK, int(offered[1]))


def test_a_port_taken_on_every_address_is_taken_on_one() -> None:
    """A server on 0.0.0.0 is in the way of one on 127.0.0.1."""
    with socket.create_server(("0.0.0.0", 0)) as server:  # noqa: S104 - the point of the test
        assert not is_free(LOOPBACK, server.getsockname()[1])


def test_free_ports_differ() -> None:
    """As many as asked for, each free, and none that the kernel gives to connections."""
    found = free_ports(LOOPBACK, 20)
    assert max(found) < 32768
    assert len(set(found)) == 20
    assert all(is_free(LOOPBACK, port) for port in found)


def test_a_port_is_held_by_one() -> None:
    """Until the hold ends: engines listen minutes after their port was chosen."""
    (port,) = free_ports(LOOPBACK, 1)
    hold = claim(port)
    assert hold is not None
    assert claim(port) is None
    hold.close()
    again = claim(port)
    assert again is not None
    again.close()


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_numbers_that_are_no_ports_are_refused(port: int) -> None:
    """With the range that there is."""
    with pytest.raises(InputError, match="ports go from 1 to 65535"):
        check_port(LOOPBACK, port)


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_that_is_not_ours_is_no_matter_of_ports(host: str) -> None:
    """The host is named, not the port."""
    with pytest.raises(InputError, match=f"--host {host}: .*127.0.0.1 is this machine"):
        check_port(host, 8000)
