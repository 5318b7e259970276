"""docs/efficiencies.md is what the records say."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_page_is_generated_from_the_records() -> None:
    """`python scripts/list_efficiencies.py` would change nothing."""
    script = ROOT / "scripts" / "list_efficiencies.py"
    spec = importlib.util.spec_from_file_location("list_efficiencies", script)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs" / "efficiencies.md").read_text(encoding="utf-8") == module.page()
