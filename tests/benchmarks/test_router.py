"""The router's benchmark and the table of all, without a router."""

import sys
from pathlib import Path

import httpx
import pytest

from benchmarks.__main__ import line, through_router
from benchmarks.generator import serving
from benchmarks.router import Round, find_router, medians, routing
from tpdeploy.errors import InputError, TpdeployError


def test_what_the_router_adds_is_the_difference_of_a_round() -> None:
    """Figure by figure, of one round; the medians are column by column."""
    first = Round((50.0, 10.0), (52.0, 10.5))
    second = Round((60.0, 10.0), (61.0, 9.0))
    assert [first.added, second.added] == [(2.0, 0.5), (1.0, -1.0)]
    assert medians([first.added, second.added, (9.0, 9.0)]) == (2.0, 0.5)


def test_without_a_router_the_refusal_says_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line with the command that installs it, also in the table of all."""
    monkeypatch.setenv("TPDEPLOY_HOME", str(tmp_path))
    with pytest.raises(InputError, match="run: tpdeploy backends install router") as refused:
        find_router(None)
    assert "\n" not in str(refused.value)
    _, figure, _ = through_router(None, 1)
    assert figure == f"not run: {refused.value}"


def test_a_router_that_is_named_must_be_a_program(tmp_path: Path) -> None:
    """A path without one is refused by its value; one that can be run is taken."""
    with pytest.raises(InputError, match="none: no program there"):
        find_router(tmp_path / "none")
    assert find_router(Path(sys.executable)) == Path(sys.executable)


def test_a_router_that_ends_is_told_with_its_last_words(tmp_path: Path) -> None:
    """No waiting for a program that has ended."""
    program = tmp_path / "vllm-router"
    program.write_text("#!/bin/sh\necho first\necho no such policy >&2\nexit 1\n")
    program.chmod(0o755)
    refused = pytest.raises(TpdeployError, match="does not serve: no such policy")
    with refused, routing(program, ["http://127.0.0.1:9"]):
        pass


def test_the_stand_in_server_answers_health_and_ends() -> None:
    """A router's question is answered on the connection, and nothing listens after the block."""
    with serving(0.001) as url, httpx.Client(trust_env=False) as client:
        assert [client.get(f"{url}/health").status_code for _ in range(2)] == [200, 200]
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/health", trust_env=False)


def test_a_line_is_medians_and_their_range() -> None:
    """Least and greatest of each figure stand beside its median."""
    found = line("x", "{:.0f} ms", {"TTFT": [3.0, 1.0, 2.0], "ITL": [7.0, 9.0, 8.0]})
    assert found == ("x", "TTFT 2 ms, ITL 8 ms", "1 ms to 3 ms, 7 ms to 9 ms")
