"""Pictures for documents: explain --svg and plan --plot, as a browser draws them."""

from pathlib import Path

import pytest

from tests.browser.looks import Look, cut, overlapping
from tests.cli.commands import answered

# The most shares that are numbered, names of experts, and one GPU; long names of splits.
COMMANDS = (
    ("explain", "llama-70b", "--tp", "16", "--svg"),
    ("explain", "qwen3-30b-a3b", "--tp", "4", "--svg"),
    ("explain", "deepseek-v3", "--tp", "8", "--svg"),
    ("explain", "llama-8b", "--tp", "1", "--svg"),
    ("plan", "qwen3-32b", "--gpus", "4xL40S", "--backend", "vllm", "--concurrency", "64", "--plot"),
)


@pytest.mark.parametrize("command", COMMANDS)
def test_no_text_lies_on_another(command: tuple[str, ...], tmp_path: Path, look: Look) -> None:
    """Nor outside the picture, which stands in a page."""
    file = tmp_path / "picture.svg"
    answered(*command, str(file))
    page = file.with_suffix(".html")
    svg = file.read_text(encoding="utf-8")
    page.write_text(f"<!DOCTYPE html>{svg[svg.index('<svg') :]}", encoding="utf-8")
    shown = look.at(page.as_uri())
    assert overlapping(shown) == []
    assert cut(shown) == []
