"""Write docs/api.md: what `import tpdeploy` offers, from its own docstrings and annotations.

python scripts/list_python.py
"""

import ast
import inspect
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

import tpdeploy
from tpdeploy.api import options
from tpdeploy.api.results import Compared
from tpdeploy.files import write_whole
from tpdeploy.harness.backtest import summary
from tpdeploy.harness.measure.report import ValidationReport
from tpdeploy.planner import plan

PAGE = Path(__file__).resolve().parents[1] / "docs" / "api.md"
FUNCTIONS: Sequence[Callable[..., Any]] = (
    tpdeploy.plan,
    tpdeploy.estimate,
    tpdeploy.compare,
    tpdeploy.launch,
    tpdeploy.validate,
    tpdeploy.backtest,
)
RECORDS: Sequence[type[BaseModel]] = (
    *(tpdeploy.Plan, plan.Prediction, plan.Estimate, plan.Distribution, plan.PlannedModel),
    *(plan.PlannedCluster, plan.Placement, plan.Limits, plan.MemoryPerGpu, plan.Alternative),
    *(plan.EngineAnswer, plan.ParetoPoint, plan.Cost, tpdeploy.Comparison, Compared),
    ValidationReport,
    *(summary.Summary, summary.Group, summary.Errors, summary.Unpredicted),
)
CLASSES = (tpdeploy.Running,)
ERRORS = (tpdeploy.TpdeployError, tpdeploy.InputError, tpdeploy.InfeasibleError)
INTRODUCTION = """\
# Python reference

What `tpdeploy.__all__` lists, and the records that it returns. [The Python interface](python.md) \
has examples. Made by `python scripts/list_python.py`.
"""


def page() -> str:
    """The whole page."""
    kinds = [("Common", options.Common), ("Options", options.Options)]
    parts = [
        *(INTRODUCTION, "## Functions\n", *map(_function, FUNCTIONS)),
        *("## Options\n", *(_options(name, kind.__doc__ or "") for name, kind in kinds)),
        *("## Records\n", *map(_class, CLASSES), *map(_record, RECORDS)),
        *("## Errors\n", *map(_class, ERRORS)),
    ]
    return "\n".join(parts)


def _function(function: Callable[..., Any]) -> str:
    """A heading, the call as it is declared, and the docstring."""
    declared = inspect.getsource(function).partition('    """')[0].strip().removesuffix(":")
    about = _lists(inspect.getdoc(function) or "")
    return f"### {function.__name__}\n\n```python\n{declared}\n```\n\n{about}\n"


def _lists(docstring: str) -> str:
    """The sections of a docstring (`Args:`, `Raises:`) as lists."""
    titled = re.sub(r"^(\w+):$", r"\1:\n", docstring, flags=re.MULTILINE)
    return re.sub(r"^    (\w+): ", r"- `\1`: ", titled, flags=re.MULTILINE).replace(
        "\n        ", " "
    )


def _class(kind: type[object]) -> str:
    """A heading and the docstring."""
    return f"### {kind.__name__}\n\n{inspect.getdoc(kind)}\n"


def _options(name: str, about: str) -> str:
    """The keys of a TypedDict with the strings below them."""
    tree = ast.parse(inspect.getsource(options))
    found = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name)
    rows = [
        (ast.unparse(key.target), ast.unparse(key.annotation), ast.literal_eval(text.value))
        for key, text in zip(found.body, found.body[1:], strict=False)
        if isinstance(key, ast.AnnAssign) and isinstance(text, ast.Expr)
    ]
    return _table(name, about, rows)


def _record(kind: type[BaseModel]) -> str:
    fields = kind.model_fields.items()
    rows = [(name, _type(field.annotation), field.description or "") for name, field in fields]
    return _table(kind.__name__, inspect.getdoc(kind) or "", rows)


def _type(annotation: Any) -> str:
    """As a reader writes it: without the bounds that are checked."""
    kind, parts = get_origin(annotation), get_args(annotation)
    if kind is Annotated:
        return _type(parts[0])
    if kind is Literal:
        return " | ".join(map(repr, parts))
    if kind in {Union, UnionType}:
        return " | ".join(map(_type, parts))
    if parts:
        return f"{kind.__name__}[{', '.join(map(_type, parts))}]"
    plain = {NoneType: "None", Ellipsis: "..."}
    return plain.get(annotation) or annotation.__name__


def _table(name: str, about: str, rows: Sequence[tuple[str, str, str]]) -> str:
    lines = [("name", "type", "meaning"), ("---", "---", "---")]
    lines += [(f"`{key}`", f"`{kind}`", text) for key, kind, text in rows]
    cells = [" | ".join(cell.replace("|", "\\|") for cell in line) for line in lines]
    return f"### {name}\n\n{about}\n\n" + "".join(f"| {row} |\n" for row in cells)


if __name__ == "__main__":
    write_whole(PAGE, page())
