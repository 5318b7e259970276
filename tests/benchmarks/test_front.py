"""The front's benchmark."""

import httpx
import pytest

from benchmarks.__main__ import line
from benchmarks.front import Round, fronting, medians
from benchmarks.generator import serving
from tpdeploy.errors import TpdeployError
from tpdeploy.launcher import front


def test_what_the_front_adds_is_the_difference_of_a_round() -> None:
    """Figure by figure, of one round; the medians are column by column."""
    first = Round((50.0, 10.0), (52.0, 10.5))
    second = Round((60.0, 10.0), (61.0, 9.0))
    assert [first.added, second.added] == [(2.0, 0.5), (1.0, -1.0)]
    assert medians([first.added, second.added, (9.0, 9.0)]) == (2.0, 0.5)


def test_a_front_that_ends_is_told_with_its_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting for a program that has ended."""
    monkeypatch.setattr(front, "RETRY_INTERVAL", "often")
    refused = pytest.raises(TpdeployError, match=r"the front does not serve: .*often")
    with refused, fronting(["http://127.0.0.1:9", "http://127.0.0.1:8"]):
        pass


def test_the_stand_in_server_answers_health_and_ends() -> None:
    """A front's question is answered on the connection, and nothing listens after the block."""
    with serving(0.001) as url, httpx.Client(trust_env=False) as client:
        assert [client.get(f"{url}/health").status_code for _ in range(2)] == [200, 200]
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/health", trust_env=False)


def test_a_line_is_medians_and_their_range() -> None:
    """Least and greatest of each figure stand beside its median."""
    found = line("x", "{:.0f} ms", {"TTFT": [3.0, 1.0, 2.0], "ITL": [7.0, 9.0, 8.0]})
    assert found == ("x", "TTFT 2 ms, ITL 8 ms", "1 ms to 3 ms, 7 ms to 9 ms")
