"""What a release consists of: built, checked, and used from an empty environment."""

import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from email.parser import Parser
from pathlib import Path

import pytest

from tpdeploy import __version__
from tpdeploy.cli.main import COMMANDS

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.processes

# A few of each kind that the code reads, and what only a checkout has.
NEEDED = [
    "py.typed",
    "cli/report/page.html",
    "cli/ui/page.js",
    "profiles/data/accelerators/h100-sxm-80gb.yaml",
    "profiles/data/schemas/accelerator.schema.json",
]
OF_A_CHECKOUT = ("tests", "benchmarks", "scripts", "docs", "examples")
# The help of each command, as its own process would print it.
HELP = """
import sys
from contextlib import suppress
from tpdeploy.cli.main import main
for command in sys.argv[1:]:
    sys.argv = ["tpdeploy", command, "--help"]
    with suppress(SystemExit):
        main()
"""
USES: list[tuple[list[str], str]] = [
    (["plan", "llama-70b", "--gpus", "8xH100"], "tensor parallel (TP) 8"),
    (["compare", "llama-8b", "--gpus", "1xH100,1xH200"], "1xH200"),
    (["explain", "llama-70b", "--tp", "4"], "all-reduce"),
    (["models", "qwen3"], "qwen3-8b"),
    (["gpus", "h100"], "H100-SXM-80GB"),
    (["interconnects"], "nvswitch-gen4"),
    (["workloads"], "chat"),
    (["show", "H100"], "source"),
    (["backends"], "vllm"),
    (["launch", "--dry-run"], "vllm serve"),
]


def run(*argv: str | Path, cwd: Path, env: Mapping[str, str] | None = None) -> str:
    """What a program says that must succeed."""
    done = subprocess.run(
        list(map(str, argv)), cwd=cwd, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The source distribution, and the wheel that is made of it alone."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ".", cwd=ROOT)
    (source,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return source, wheel


@pytest.fixture(scope="module")
def installed(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment that has the wheel and what it needs, and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "venv", "--without-pip", "environment", cwd=folder)
    programs = folder / "environment" / "bin"
    uv = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--compile-bytecode"]
    run(*uv, "--python", programs / "python", built[1], cwd=folder)
    return programs


@pytest.fixture
def outside(tmp_path: Path) -> dict[str, str]:
    """An environment in which nothing leads to the checkout or to a model hub."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return {**kept, "HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "COLUMNS": "80"}


def test_an_index_would_take_both(built: tuple[Path, Path]) -> None:
    """Their metadata is valid, and the README is shown."""
    run(sys.executable, "-m", "twine", "check", "--strict", *built, cwd=ROOT)


def test_they_hold_what_is_needed_and_the_wheel_nothing_of_a_checkout(
    built: tuple[Path, Path],
) -> None:
    """Data, pages and types; the source distribution has tests and pages too."""
    source, wheel = built
    files = set(zipfile.ZipFile(wheel).namelist())
    assert [name for name in NEEDED if f"tpdeploy/{name}" not in files] == []
    assert [name for name in files if name.split("/")[0] in OF_A_CHECKOUT] == []
    with tarfile.open(source) as archive:
        folders = {name.split("/")[1] for name in archive.getnames()}
    assert {"tpdeploy", *OF_A_CHECKOUT} <= folders
    (metadata,) = (name for name in files if name.endswith(".dist-info/METADATA"))
    told = Parser().parsestr(zipfile.ZipFile(wheel).read(metadata).decode())
    assert (told["Name"], told["Version"]) == ("tpdeploy", __version__)


def test_every_command_says_what_it_is_for(
    installed: Path, tmp_path: Path, outside: dict[str, str]
) -> None:
    """None needs what only developers install."""
    said = run(installed / "python", "-c", HELP, *COMMANDS, cwd=tmp_path, env=outside)
    assert [name for name in COMMANDS if f"Usage: tpdeploy {name} " not in said] == []


def test_it_is_used_outside_the_checkout(
    installed: Path, tmp_path: Path, outside: dict[str, str]
) -> None:
    """From the wheel's own data, with its version and its Python interface."""
    program = installed / "tpdeploy"
    assert run(program, "--version", cwd=tmp_path, env=outside).split() == ["tpdeploy", __version__]
    for args, words in USES:
        assert words in run(program, *args, cwd=tmp_path, env=outside), args
    code = "import tpdeploy; print(tpdeploy.__file__, tpdeploy.plan('llama-8b', '1xH100').answer)"
    told = run(installed / "python", "-c", code, cwd=tmp_path, env=outside)
    assert told.startswith(str(installed.parent))
