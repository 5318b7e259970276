"""Text of files is shown as text: no markup, no emoji, no control codes."""

import json
from io import StringIO
from pathlib import Path

from rich.table import Table

from tests.cli.commands import answered
from tests.profiles.test_config_json import LLAMA
from tpdeploy.cli.output import PlainConsole


def shown(*texts: str) -> str:
    console = PlainConsole(file=StringIO(), width=60)
    table = Table("[bold]", *texts)
    table.add_row("x", *texts)
    console.print(*texts)
    console.print(table)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_markup_and_emoji_are_text() -> None:
    """What looks like a tag stays as it is, in lines and in tables."""
    assert shown("[/b]").count("[/b]") == 3
    assert ":smile:" in shown(":smile:")


def test_control_codes_are_written_out() -> None:
    """A terminal does nothing that a file tells it to."""
    written = shown("\x1b[31mred\x07")
    assert "\x1b" not in written
    assert r"\x1b[31mred" in written


def test_a_model_whose_architecture_looks_like_markup(tmp_path: Path) -> None:
    """It is planned and shown like any other."""
    folder = tmp_path / "[red]"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**LLAMA, "architectures": ["[/b]"]}))
    plan = ("plan", str(folder), "--gpus", "1xH100", "--input-tokens", "64", "--backend", "vllm")
    assert "[red] with vllm on 1x" in answered(*plan)
