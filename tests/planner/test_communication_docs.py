"""The page on methods says what was measured where, as the data has it."""

from pathlib import Path

import pytest

from tpdeploy.profiles import DATA
from tpdeploy.profiles.devices.catalog import measured_curves
from tpdeploy.profiles.devices.fabric import Curve
from tpdeploy.profiles.devices.networks import find_network, network_names

PAGE = Path(__file__).parents[2] / "docs" / "methodology.md"
COLUMNS = (
    ("all-reduce",),
    ("all-gather", "reduce-scatter", "all-to-all"),
    ("expert-dispatch", "expert-combine"),
)


def cell(curves: tuple[Curve, ...], operations: tuple[str, ...]) -> str:
    """The algorithms measured for `operations`, with their group sizes."""
    known = [c for c in curves if c.operation in operations]
    algorithms = dict.fromkeys(c.algorithm for c in known)
    sizes = {
        name: ", ".join(map(str, sorted({c.group_size for c in known if c.algorithm == name})))
        for name in algorithms
    }
    grouped = {
        groups: " ".join(name for name in algorithms if sizes[name] == groups)
        for groups in dict.fromkeys(sizes.values())
    }
    return "; ".join(f"{names}: {groups}" for groups, names in grouped.items()) or "link model"


def row(place: str, curves: tuple[Curve, ...]) -> str:
    gpus = dict.fromkeys(c.gpu for c in curves)
    cells = (cell(curves, operations) for operations in COLUMNS)
    return f"| {place} | {', '.join(gpus)} | {' | '.join(cells)} |"


ROWS = [
    *(
        row(path.parent.name, measured_curves(path.parent.name, path.stem))
        for path in sorted((DATA / "curves").glob("*/*.yaml"))
    ),
    *(
        row(name, find_network(name).curves)
        for name in network_names()
        if find_network(name).curves
    ),
]


@pytest.mark.parametrize("line", ROWS)
def test_the_table_of_measurements_is_that_of_the_data(line: str) -> None:
    """Each fabric and network with measurements has its row, and no other row exists."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    assert line in lines
    start = lines.index("| where | GPU | all-reduce | gather, scatter, all-to-all | experts |") + 2
    assert lines[start : start + len(ROWS)] == ROWS
    assert not lines[start + len(ROWS)].startswith("|")
