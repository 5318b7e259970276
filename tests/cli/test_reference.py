"""The page of commands is what the commands say of themselves."""

from tpdeploy.cli.reference import PAGE, reference


def test_the_page_of_commands_is_current() -> None:
    """`python -m tpdeploy.cli.reference` would change nothing."""
    assert PAGE.read_text() == reference()
