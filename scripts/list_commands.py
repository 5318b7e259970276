"""The page of all commands, made from their own help: `python scripts/list_commands.py`."""

from pathlib import Path

from typer.testing import CliRunner

from tpdeploy.cli.main import COMMANDS, app
from tpdeploy.files import write_whole

PAGE = Path(__file__).resolve().parents[1] / "docs" / "commands.md"
INTRODUCTION = """\
# Commands

Every error is one line on stderr. Exit codes: 0 done; 1 it went wrong, or a target was not met; \
2 bad input; 3 nothing feasible; 130 interrupted. Results go to stdout, progress to stderr. \
Everything tpdeploy keeps is in `TPDEPLOY_HOME`, or in the user's data folder.
"""


def reference() -> str:
    """The page: the help of every command, 80 columns wide."""
    return "\n".join([INTRODUCTION, *(_section(name) for name in COMMANDS)])


def _section(name: str) -> str:
    asked = [name, "--help"]
    shown = CliRunner().invoke(app, asked, prog_name="tpdeploy", env={"COLUMNS": "80"})
    return f"## tpdeploy {name}\n\n```\n{shown.stdout.strip()}\n```\n"


if __name__ == "__main__":
    write_whole(PAGE, reference())
