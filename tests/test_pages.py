"""What README.md and the pages show is true: commands run or exist, messages are in the code.

tests/test_questions.py checks docs/questions.md.
"""

import contextlib
import re
import shlex
from functools import cache
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from scripts.quote_answers import LEFT_OUT, PAGES, commands, screen, working_folder
from scripts.quote_answers import PAGE as QUESTIONS
from tpdeploy.cli.main import COMMANDS, app

ROOT = Path(__file__).parents[1]
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TEXTS = {path: path.read_text(encoding="utf-8") for path in PAGES if path != QUESTIONS}
QUOTED: dict[str, list[list[str]]] = {}
for text in TEXTS.values():
    for line, lines in commands(text):
        QUOTED.setdefault(line, []).append(lines)
# Only these pages' commands read files that stand on them.
WITH_FILES = "\n".join(TEXTS[ROOT / "docs" / f"{name}.md"] for name in ("traces", "daily-load"))
# Why commands that pages show without an answer are not run here, and what runs them.
NOT_RUN = {
    "--install-completion": "tests/cli/test_completion.py, in a real bash",
    "backends": "installs engines: scripts/test.sh does",
    "backtest": "takes minutes: python -m benchmarks.accuracy does the same",
    "calibrate": "needs an engine: tests/e2e/test_calibrate.py, tests/cluster/test_network.py",
    "compare": "tests/cli/test_compare.py",
    "doctor": "tests/launcher/test_doctor.py; with an engine tests/e2e/test_doctor.py",
    "history": "shows what a validation left: tests/harness/test_learning.py",
    "launch": "needs an engine: tests/e2e/test_first_steps.py; elsewhere: tests/cluster",
    "plan": "writes a file, asks a cluster, or its answer is not shown: tests/cli/test_plan.py",
    "query": "needs an engine: tests/e2e/test_first_steps.py",
    "status": "needs an engine: tests/e2e/test_first_steps.py",
    "stop": "needs an engine: tests/e2e/test_first_steps.py",
    "up": "needs an engine: tests/e2e/test_launch.py; without one tests/cli",
    "validate": "needs an engine: tests/e2e/test_first_steps.py",
}


@pytest.mark.parametrize("command", QUOTED)
@pytest.mark.slow
def test_a_page_shows_what_the_command_answers(command: str) -> None:
    """Line by line at 80 columns, with today's figures: `python scripts/quote_answers.py`."""
    with working_folder(WITH_FILES):
        lines, code = screen(command)
    said = "\n".join(lines) + "\n"
    for quoted in QUOTED[command]:
        shown = re.escape("\n".join(quoted) + "\n")
        rest = re.escape(f"{LEFT_OUT}\n")
        assert re.fullmatch(shown.replace(rest, r"(?:.*\n)*?"), said), said
    assert (code in {2, 3}) == lines[-1].startswith("Error: ")


def shown_only() -> list[str]:
    """Commands in blocks without an answer, with the arguments that the shell would give."""
    found = set()
    for text in TEXTS.values():
        for kind, content in FENCE.findall(text):
            whole = content.replace("\\\n", " ")
            lines = [] if kind == "console" else re.findall(r"^(?:\$ )?tpdeploy (.*)$", whole, re.M)
            found |= {re.split(r" [|<>] |\s#", line)[0].strip() for line in lines}
    return sorted(found)


@pytest.mark.parametrize("command", shown_only())
@pytest.mark.slow
def test_a_command_without_an_answer_exists(command: str) -> None:
    """Its options are known and their values are of the right kind; why it is not run is said."""
    name, *args = shlex.split(command)
    named = re.findall(r"(?:tests|scripts)/[\w./]+\b", NOT_RUN[name])
    assert all((ROOT / path).exists() for path in named)
    if name in COMMANDS:
        group = get_command(app)
        with contextlib.suppress(typer.Exit), typer.Context(group, info_name="tpdeploy") as ctx:
            known = group.get_command(ctx, name)  # type: ignore[attr-defined]
            known.make_context(name, args, parent=ctx)


@cache
def source() -> str:
    """The package's source, in which strings that continue on the next line are one."""
    files = sorted((ROOT / "tpdeploy").rglob("*.py"))
    return re.sub(r'"\n +f?"', "", "\n".join(file.read_text(encoding="utf-8") for file in files))


MESSAGES = re.findall(r"^### `(.+)`$", TEXTS[ROOT / "docs" / "troubleshooting.md"], re.MULTILINE)


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_that_is_explained_is_one_of_the_code(message: str) -> None:
    """What stands between the places of names and figures is written in the source."""
    parts = [part for part in message.split("…") if len(part.strip(" .,:;()")) > 2]
    assert parts
    for part in parts:
        assert part.rstrip() in source()


def test_the_demo_is_the_page_of_the_cpu() -> None:
    """The page's commands, step by step, are those that scripts/demo.sh runs, in this order."""
    demo = (ROOT / "scripts" / "demo.sh").read_text(encoding="utf-8")
    page, _, _ = TEXTS[ROOT / "docs" / "start" / "cpu.md"].partition("## The same in one command")
    named = re.compile(r"^(?:\$ |run )?tpdeploy (\w+)", re.MULTILINE)
    assert named.findall(page) == named.findall(demo)
