"""`tpdeploy launch --dry-run` on one machine, printed or written."""

from pathlib import Path

import pytest

from tests.cli.commands import tpdeploy


@pytest.mark.slow
def test_a_file_has_what_would_be_printed(tmp_path: Path) -> None:
    """Whole, and nothing is on stdout; ports are drawn anew each time."""
    made = tpdeploy("plan", "smollm2", "--gpus", "1xCPU", "--backend", "vllm", home=tmp_path)
    assert made.returncode == 0, made.stderr
    printed = tpdeploy("launch", "--dry-run", home=tmp_path)
    path = tmp_path / "commands.sh"
    written = tpdeploy("launch", "--output", str(path), home=tmp_path)
    assert (written.returncode, written.stdout) == (0, ""), written.stderr
    heads = [line for line in path.read_text().splitlines() if line.startswith("# ")]
    assert heads[0] == "# replica-0"
    assert heads == [line for line in printed.stdout.splitlines() if line.startswith("# ")]
