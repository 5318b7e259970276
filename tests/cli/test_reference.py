"""The page of commands is what the commands say of themselves."""

from tests.scripts import script


def test_the_page_of_commands_is_current() -> None:
    """`python scripts/list_commands.py` would change nothing."""
    made = script("list_commands")
    assert made.PAGE.read_text() == made.reference()
