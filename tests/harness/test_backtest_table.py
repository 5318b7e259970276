"""A table of measured runs is read whole, or refused with what it lacks."""

from pathlib import Path

import pytest

from tests.harness.runs import PLAIN, write_runs
from tpdeploy.errors import InputError
from tpdeploy.harness.backtest.table import read_rows


def test_a_table_keeps_every_column_in_order(tmp_path: Path) -> None:
    """Columns that the prediction ignores are kept; a byte-order mark and blank lines are not."""
    path = write_runs(tmp_path / "runs.csv", {"id": "first", **PLAIN, "note": "as is"})
    path.write_text("\ufeff" + path.read_text() + "\n")
    table = read_rows(path)
    assert table.columns == ("id", *PLAIN, "note")
    assert table.rows == ({"id": "first", **PLAIN, "note": "as is"},)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"a,b\n1,2\n", "lacks the columns model, gpu"),
        (",".join(c for c in PLAIN if c != "tp").encode(), "lacks the column tp;"),
        (",".join(PLAIN).encode(), "a header and no rows"),
        (b"\xff\xfe\x00\x01", "is UTF-16 or UTF-32 text; save it as UTF-8"),
    ],
)
def test_a_file_that_is_no_table_of_runs_is_refused(
    content: bytes, words: str, tmp_path: Path
) -> None:
    """The refusal says what the file lacks."""
    path = tmp_path / "runs.csv"
    path.write_bytes(content)
    with pytest.raises(InputError) as refusal:
        read_rows(path)
    assert words in str(refusal.value)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """A missing file and a folder."""
    for path in (tmp_path, tmp_path / "none.csv"):
        with pytest.raises(InputError, match="cannot read"):
            read_rows(path)
