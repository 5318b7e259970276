"""The table of what each engine calls the fields of a plan is what the adapters do."""

from tests.scripts import script
from tpdeploy.backends.meaning import CHANGES, example_plan, moved
from tpdeploy.backends.registry import load_backends


def test_the_page_of_engines_is_current() -> None:
    """`python scripts/list_engines.py` would change nothing."""
    made = script("list_engines")
    assert made.PAGE.read_text() == made.page()


def test_no_field_is_lost_on_an_engine() -> None:
    """Every field moves something in every engine, or the engine says that it cannot have it."""
    lost = [
        (engine.name, change.field)
        for engine in load_backends()[0]
        for change in CHANGES
        if moved(engine, change, example_plan(engine)) == "nothing"
    ]
    assert not lost
