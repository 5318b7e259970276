"""Write docs/engines.md: what each built-in engine calls each field of a plan.

python scripts/list_engines.py
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tpdeploy.backends.base import Backend
from tpdeploy.backends.meaning import CHANGES, SITE, differences, example_plan, moved, told
from tpdeploy.backends.registry import load_backends
from tpdeploy.files import write_whole

PAGE = Path(__file__).resolve().parents[1] / "docs" / "engines.md"
INTRODUCTION = """\
# One plan, three engines

What each engine is told for each field of a plan. Made by `python scripts/list_engines.py`: \
every field is changed in a plan of Llama 3.3 70B at TP 4 on 8 H100, and what changes in the \
engine's command, environment or files is listed. Where a change is refused, the adapter's own \
words stand. A fraction of memory means something else to each engine; each is told the one that \
leaves the plan's KV cache.
"""


def page() -> str:
    """The whole page."""
    engines = sorted(load_backends()[0], key=lambda engine: engine.order)
    engines = [engine for engine in engines if type(engine).__module__.startswith("tpdeploy.")]
    names = [engine.name for engine in engines]
    plans = {engine.name: example_plan(engine) for engine in engines}
    rows = [
        [f"`{c.field}`", *(moved(engine, c, plans[engine.name]) for engine in engines)]
        for c in CHANGES
    ]
    rows.append(["address", *(_address(engine) for engine in engines)])
    rows.append(["API key", *(_key(engine) for engine in engines)])
    rows.append(["run so far", *(engine.verified for engine in engines)])
    rows.append(["maintained", *(engine.legacy or "yes" for engine in engines)])
    return INTRODUCTION + "\n" + _table(["plan", *names], rows)


def _address(engine: Backend) -> str:
    made = example_plan(engine)
    elsewhere = replace(SITE, host="0.0.0.0", port="8002")  # noqa: S104
    names = differences(told(engine, made), told(engine, made, elsewhere))
    return ", ".join(f"`{name}`" for name in names)


def _key(engine: Backend) -> str:
    variable = engine.api_key_variable
    return f"`{variable}` in the environment" if variable else "has none"


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    write_whole(PAGE, page())
