"""What the pages for contributors promise: links lead somewhere, and additions touch few files."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from tpdeploy import __version__

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "benchmarks").rglob("*.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
    *sorted((ROOT / ".github").rglob("*.md")),
]
LINK = re.compile(r"\]\((?!https?://)([^)#\s]*)(?:#([^)\s]*))?\)")
REQUIREMENT = re.compile(r"([a-z0-9-]+)(?:>=([0-9.]+))?$")


def headings(page: Path) -> set[str]:
    """The anchors of a page, as they are made from its headings."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_the_pages_lead_somewhere(page: Path) -> None:
    """Each link inside the repository is to a file, and to a heading that it has."""
    for path, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {path}"
        assert not anchor or anchor in headings(target), f"{page.name}: {path}#{anchor}"


def test_commands_of_contributing_name_files_that_exist() -> None:
    """Scripts, folders and modules that the page tells to run or to look into are there."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = re.findall(r"\b((?:tpdeploy|tests|scripts|benchmarks|docs)/[\w./-]*\w)", text)
    modules = re.findall(r"python -m ((?:tpdeploy|benchmarks)[\w.]*)", text)
    assert named and modules
    variables = ("NAME", "ROOM", "ENGINE")
    named = [path for path in named if not any(word in path for word in variables)]
    for path in named + [module.replace(".", "/") + ".py" for module in modules]:
        assert (ROOT / path).exists(), path


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package, to which a record can be added."""
    return Path(shutil.copytree(ROOT / "tpdeploy", tmp_path / "tpdeploy"))


def added(package: Path, folder: str, copied: str, **changed: object) -> None:
    """One file more in `folder` of the data: a record like `copied`, but for what is changed."""
    (data,) = package.rglob(f"data/{folder}")
    record = yaml.safe_load((data / copied).read_text(encoding="utf-8")) | changed
    (data / "new.yaml").write_text(yaml.safe_dump(record, sort_keys=False), encoding="utf-8")


def planned(package: Path, *arguments: str) -> dict[str, dict[str, object]]:
    """The plan that this copy of the package makes."""
    command = [sys.executable, "-m", "tpdeploy", "plan", *arguments]
    command += ["--backend", "vllm", "--json"]
    env = {**os.environ, "PYTHONPATH": str(package.parent)}
    done = subprocess.run(
        command, cwd=package.parent, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, object]] = json.loads(done.stdout)
    return found


@pytest.mark.slow
def test_a_gpu_is_one_file(package: Path) -> None:
    """A record of a known class of devices is enough to plan for it."""
    added(package, "accelerators", "l40s.yaml", name="New-48GB", aliases=["new"])
    assert planned(package, "llama-8b", "--gpus", "1xnew")["cluster"]["gpu"] == "New-48GB"


@pytest.mark.slow
def test_a_model_is_one_file(package: Path) -> None:
    """A record of a known architecture is enough to plan it by its alias."""
    added(package, "models", "smollm2-135m-instruct.yaml", id="someone/new", aliases=["new"])
    assert planned(package, "new", "--gpus", "1xL40S")["model"]["id"] == "someone/new"


def test_an_engine_is_a_package_of_three_files_and_a_page() -> None:
    """The example is a module, a pyproject.toml and a test; tests/backends runs it."""
    example = ROOT / "examples" / "sglang-backend"
    names = {f.name for f in example.rglob("*") if f.suffix in {".py", ".toml", ".md"}}
    assert names == {"__init__.py", "pyproject.toml", "test_conformance.py", "README.md"}


def test_a_kind_of_mixer_is_one_file_of_the_planner() -> None:
    """Outside their folder no module knows a kind of attention or of recurrent mixer."""
    package = ROOT / "tpdeploy"
    sources = {file: file.read_text(encoding="utf-8") for file in package.rglob("*.py")}
    for room in ("attention", "recurrent"):
        mixers = package / "planner" / "model" / room
        assert len(list(mixers.glob("*.py"))) > 5
        imported: set[str] = set()
        for file, text in sources.items():
            if file.parent != mixers:
                imported.update(re.findall(rf"planner\.model\.{room}\.(\w+) import", text))
        assert "kinds" in imported
        assert imported <= {"kinds", "mixer", "cost"}
    # Nor does the planner ask a shape which kind it has.
    asking = r"import.*\b(LatentAttention|CompressedAttention|SharedAttention)\b"
    planner = {file: text for file, text in sources.items() if package / "planner" in file.parents}
    assert {f.parent.name for f, text in planner.items() if re.search(asking, text)} == {
        "attention"
    }


def test_tests_of_hosts_and_engines_are_where_the_script_looks_for_them() -> None:
    """`scripts/test.sh` reads no other folder for them."""
    marked = {"cluster": {"cluster"}, "engine": {"cluster", "e2e"}}
    for mark, folders in marked.items():
        files = [f for f in (ROOT / "tests").rglob("*.py") if f"mark.{mark}" in f.read_text()]
        assert {file.parent.name for file in files} == folders, mark


def test_every_dependency_has_a_lowest_version_and_a_pinned_one() -> None:
    """`uv pip compile` of CONTRIBUTING.md was run after the last change of dependencies."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    declared = [*project["dependencies"], *extras["docs"], *extras["report"], *extras["dev"]]
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {line.partition("==")[0] for line in lines}
    for requirement in declared:
        if requirement == "tpdeploy[docs,report]":
            continue
        told = REQUIREMENT.match(requirement)
        assert told and told[2], f"{requirement}: no lowest version"
        assert told[1] in pinned, f"{requirement}: not in constraints.txt"


def test_the_changelog_has_this_version_with_its_date() -> None:
    """What is not released stands above; the newest dated section is the package's version."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    first, second = re.findall(r"^## (.+)$", text, re.MULTILINE)[:2]
    assert first == "[Unreleased]"
    assert re.fullmatch(rf"\[{re.escape(__version__)}\] - \d{{4}}-\d\d-\d\d", second)
