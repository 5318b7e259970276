"""The layout is what it seems: links lead to their rooms, the wheel holds the package alone."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "tpdeploy"


@pytest.mark.parametrize("room", ["planner", "backends", "profiles"])
def test_top_level_links_lead_to_their_rooms(room: str) -> None:
    """A link at the top level is relative and resolves to the room of its name."""
    link = ROOT / room
    assert link.is_symlink()
    assert link.readlink() == Path("tpdeploy") / room
    assert link.resolve() == PACKAGE / room


@pytest.mark.slow
def test_the_wheel_holds_every_file_and_nothing_else(tmp_path: Path) -> None:
    """Each module and data file is in the wheel, and its top level is `tpdeploy` alone."""
    command = [sys.executable, "-m", "uv", "build", "--wheel", "--quiet", "-o", str(tmp_path), "."]
    subprocess.run(command, cwd=ROOT, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = {n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n}
    files = (f for f in PACKAGE.rglob("*") if f.is_file() and "__pycache__" not in f.parts)
    assert names == {f.relative_to(ROOT).as_posix() for f in files}


ORDER = ["profiles", "planner", "backends", "launcher", "cli"]


@pytest.mark.parametrize("room", [*ORDER, "harness"])
def test_rooms_import_only_rooms_below(room: str) -> None:
    """Data flows one way: no room imports a room above it."""
    below = {"profiles", "planner"} if room == "harness" else set(ORDER[: ORDER.index(room)])
    if room == "cli":
        below.add("harness")
    for module in (PACKAGE / room).glob("*.py"):
        for line in module.read_text().splitlines():
            words = line.split()
            if len(words) > 1 and words[0] in {"from", "import"} and "tpdeploy." in words[1]:
                imported = words[1].split(".")[1]
                assert imported not in {*ORDER, "harness"} - below - {room}, f"{module}: {line}"
