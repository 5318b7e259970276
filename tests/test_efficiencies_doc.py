"""docs/efficiencies.md is what the records say."""

from pathlib import Path

from tests.scripts import script

ROOT = Path(__file__).parents[1]


def test_the_page_is_generated_from_the_records() -> None:
    """`python scripts/list_efficiencies.py` would change nothing."""
    made = script("list_efficiencies")
    assert (ROOT / "docs" / "efficiencies.md").read_text(encoding="utf-8") == made.page()
