"""Pictures for documents: explain --svg and plan --plot."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from matplotlib.colors import to_hex

from tests.cli.commands import answered, refused
from tpdeploy.cli.report import svg

PLAN = ("plan", "llama-8b", "--gpus", "2xH100", "--backend", "vllm")
TEXT = "{http://www.w3.org/2000/svg}text"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TPDEPLOY_HOME", str(tmp_path / "home"))


def words(path: Path) -> list[str]:
    """The texts of a drawing, which must be XML, in colours of its own."""
    content = path.read_text(encoding="utf-8")
    assert not any(code in content for code in svg.CODES.values())
    drawing = ElementTree.fromstring(content)  # noqa: S314 - written by us
    return ["".join(each.itertext()).strip() for each in drawing.iter(TEXT)]


def test_a_layer_is_drawn_with_what_each_gpu_holds(tmp_path: Path) -> None:
    """Its figures are those of the text; each share has the number of its GPU."""
    file = tmp_path / "layer.svg"
    told = answered("explain", "llama-8b", "--tp", "4", "--svg", str(file))
    drawn = words(file)
    assert "meta-llama/Llama-3.1-8B-Instruct at TP 4: one of 32 layers, 1 token" in drawn
    for columns in re.findall(r"columns ([\d,]+ of [\d,]+)", told):
        assert f"{columns} columns on each GPU" in drawn
    assert drawn.count("all-reduce") == 2
    assert [drawn.count(str(gpu)) for gpu in range(5)] == [4, 4, 4, 4, 0]


def test_one_gpu_sums_nothing(tmp_path: Path) -> None:
    """Nor has it a number."""
    file = tmp_path / "layer.svg"
    answered("explain", "llama-8b", "--tp", "1", "--svg", str(file))
    assert not {"all-reduce", "0"} & set(words(file))


@pytest.mark.slow
def test_a_plan_is_drawn_over_several_loads(tmp_path: Path) -> None:
    """A line for each of the best splits."""
    file = tmp_path / "plan.svg"
    answered(*PLAN, "--plot", str(file))
    drawn = words(file)
    assert {"TP 1 x 2", "TP 2 x 1", "Numbers: requests in flight"} <= set(drawn)
    assert "Llama-3.1-8B-Instruct on 2x H100-SXM-80GB, predicted" in drawn


@pytest.mark.slow
def test_a_png_is_one(tmp_path: Path) -> None:
    """And the figures of pages have their variables again."""
    file = tmp_path / "plan.PNG"
    answered(*PLAN, "--plot", str(file))
    assert file.read_bytes().startswith(b"\x89PNG")
    assert to_hex(svg.COLOURS["ink"]) == svg.CODES["ink"]


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ((*PLAN, "--plot", "a.jpg"), "--plot a.jpg: name a file that ends in .svg or .png"),
        (
            ("explain", "llama-8b", "--tp", "2", "--svg", "a.png"),
            "--svg a.png: name a file that ends in .svg",
        ),
    ],
)
def test_another_kind_is_refused(command: tuple[str, ...], line: str) -> None:
    """Before anything is planned."""
    assert refused(*command) == f"Error: {line}"


def test_colours_are_those_of_the_page() -> None:
    """On a light screen."""
    sheet = (Path(svg.__file__).parent / "page.css").read_text(encoding="utf-8")
    for name, value in svg.LIGHT.items():
        assert re.search(rf"--{name}: (#\w+);", sheet)[1] == value  # type: ignore[index]
