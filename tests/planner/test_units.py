"""A number says its unit: a reader need not guess whether it is seconds or milliseconds."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

PLANNER = Path(__file__).parents[2] / "tpdeploy" / "planner"
ROOMS = ("performance", "memory")
UNIT = re.compile(
    r"seconds|bytes|flop/?s|tokens|values|share|fraction|over the mean|\bms\b", re.IGNORECASE
)


def _numbers(room: str) -> Iterator[tuple[str, str, str]]:
    """File, name and docstring of every public function that returns a float, or some."""
    for path in sorted((PLANNER / room).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.FunctionDef) or node.name.startswith("_"):
                continue
            returned = ast.unparse(node.returns) if node.returns else ""
            if re.search(r"\bfloat\b", returned):
                yield path.name, node.name, ast.get_docstring(node) or ""


def test_a_function_that_returns_a_float_states_its_unit() -> None:
    """In its name, or in its docstring: every public one of the step's time and the memory."""
    found = [each for room in ROOMS for each in _numbers(room)]
    assert len(found) >= 30
    silent = [f"{file}: {name}" for file, name, told in found if not UNIT.search(f"{name} {told}")]
    assert silent == []
