"""Settings that hold for every test."""

from collections import Counter
from itertools import chain

import pytest
from hypothesis import settings

# Machines that run tests are busy: how long an example takes says nothing about the code.
# `pytest --hypothesis-profile many` draws as many examples as Hypothesis does by default.
settings.register_profile("many", deadline=None)
settings.register_profile("few", deadline=None, max_examples=25)
settings.load_profile("few")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many plans were drawn (tests/properties), wherever the workers ran."""
    totals: Counter[str] = Counter()
    for report in chain.from_iterable(terminalreporter.stats.values()):
        if isinstance(report, pytest.TestReport) and report.when == "teardown":
            totals.update(dict(report.user_properties))
    if asked := totals["plans"]:
        minutes = totals["plan seconds"] / 60
        terminalreporter.write_line(
            f"Drawn plans: {asked:,}, of which {totals['feasible plans']:,} feasible, "
            f"in {minutes:.1f} minutes of CPU time"
        )


@pytest.fixture(scope="session")
def empty_home(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A home in which nothing was installed, measured or learned."""
    return str(tmp_path_factory.mktemp("home"))


@pytest.fixture(autouse=True)
def no_home_of_the_user(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, empty_home: str
) -> None:
    """What this machine learned moves no prediction; tests of engines need what is installed."""
    if "engine" not in request.keywords:
        monkeypatch.setenv("TPDEPLOY_HOME", empty_home)
