"""The HTML report: whole, self-contained, and readable by those who cannot see its figures."""

import re
from datetime import UTC, datetime
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.cli.commands import tpdeploy
from tests.harness.sweeps import sweep
from tests.planner.inputs import ask
from tpdeploy.cli.report import write
from tpdeploy.cli.report.content import gather
from tpdeploy.cli.report.page import render
from tpdeploy.errors import InputError
from tpdeploy.harness.measure.sweep import SweepReport
from tpdeploy.planner.inputs import PlanInputs
from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.planner.search.search import plan, search
from tpdeploy.planner.workload import Target, Workload

pytestmark = pytest.mark.slow  # each draws half a dozen figures

VOID = {"meta", "br", "hr", "img", "input", "link"}
LOAD = Workload(output_tokens=64, concurrency=2, ttft=Target(ms=200))


class Page(HTMLParser):
    """What a page is made of; every element must be closed where it was opened."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data + " "

    def attributes(self, name: str) -> list[str]:
        return [found[name] or "" for _, found in self.seen if name in found]


@cache
def planned(
    load: Workload = LOAD, model: str = "llama-8b", gpus: str = "2xH100"
) -> tuple[PlanInputs, DeploymentPlan]:
    inputs = ask(model, gpus, workload=load)
    return inputs, plan(inputs, search(inputs))


def page(
    inputs: PlanInputs, made: DeploymentPlan, measured: SweepReport | None = None
) -> tuple[str, Page]:
    text = render(gather(inputs, made, measured), datetime(2026, 1, 2, tzinfo=UTC))
    return text, Page(text)


@cache
def swept() -> tuple[str, Page]:
    inputs, made = planned()
    named = made.model.model_copy(update={"id": "<script>alert(1)</script>&co"})
    made = made.model_copy(update={"model": named})
    return page(inputs, made, sweep([(1, 0.1, 100), (2, 0.15, 190), (4, 0.3, 300)], made))


def test_a_page_needs_nothing_else() -> None:
    """No script, no style sheet, font or picture of another file, and no address to fetch."""
    text, found = swept()
    tags = {tag for tag, _ in found.seen}
    assert not tags & {"script", "link", "img", "iframe", "object"}
    assert found.attributes("src") == []
    for link in [*found.attributes("href"), *found.attributes("xlink:href")]:
        assert link.startswith("#")
    assert "@import" not in text
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)", text))


def test_every_figure_is_well_formed_and_says_in_words_what_it_shows() -> None:
    """Each SVG is valid XML of its own, has a label with figures, and no id is there twice."""
    text, found = swept()
    figures = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    assert len(figures) == 7  # three against load, the frontier, memory, decode and prefill
    for figure in figures:
        root = ElementTree.fromstring(figure)  # noqa: S314 - our own
        assert root.get("role") == "img"
        assert re.search(r"\d", root.get("aria-label") or "")
    ids = found.attributes("id")
    assert len(ids) == len(set(ids))
    for name in re.findall(r'(?:href="|url\()#([^")]+)', text):
        assert name in ids


def test_figures_take_their_colours_from_the_page() -> None:
    """No colour of the drawing is left in a figure: light, dark and paper have their own."""
    text, _ = swept()
    used = set(
        re.findall(r"#[0-9a-f]{6}\b", "".join(re.findall(r"<svg.*?</svg>", text, re.DOTALL)))
    )
    assert used == set()
    assert "var(--predicted)" in text


def test_a_plan_alone_has_its_curve_and_nothing_measured() -> None:
    """Prediction at every load, memory, splits and reasons; no verdict."""
    inputs, made = planned()
    _, found = page(inputs, made)
    assert "Deployment plan" in found.text
    for load in ("1", "2", "4", "8", "16"):
        assert load in found.text.split()
    for words in (*made.reasons, *(other.reason for other in made.alternatives)):
        assert words in found.text
    assert "measured" not in found.text.lower().replace("measured on", "")
    assert "None" not in found.text
    assert "nan" not in found.text.split()


def test_a_sweep_is_shown_with_its_verdicts() -> None:
    """Predicted, measured and target at each load; the knee; the versions of what took part."""
    _, found = swept()
    assert "A target is missed or a request failed" in found.text
    assert "Targets met up to 2 in flight." in found.text
    cells = [cell for cell in found.text.split() if cell in {"pass", "fail"}]
    assert cells == ["pass", "pass", "fail"]
    assert "1.2.3" in found.text


def test_one_measured_load_stands_beside_the_whole_curve() -> None:
    """Without a sweep the measured point is at the plan's load, the prediction at all of them."""
    inputs, made = planned()
    _, found = page(inputs, made, sweep([(2, 0.1, 190)], made))
    assert "measured; predicted" in found.text
    assert "The prediction at each load" in found.text
    assert "Every target is met" in found.text


@pytest.mark.parametrize(
    ("load", "model", "gpus"),
    [
        (Workload(rate=2), "qwen3-30b-a3b", "4xL40S"),
        (Workload(output_tokens=1, concurrency=1), "llama-8b", "1xH100"),
        (Workload(concurrency=1), "smollm2-135m", "2xCPU"),
        (Workload(concurrency=32), "deepseek-v3", "2x8xH200"),
    ],
)
def test_plans_of_every_kind_have_a_page(load: Workload, model: str, gpus: str) -> None:
    """Rates, one output token, CPUs, experts and several machines."""
    text, found = page(*planned(load, model, gpus))
    assert found.attributes("aria-label")
    assert "nan" not in re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL).split()


def test_one_output_token_has_no_time_per_token() -> None:
    """Nothing is measured of it, and nothing is drawn."""
    inputs, made = planned(Workload(output_tokens=1, concurrency=1), gpus="1xH100")
    found = sweep([(1, 0.1, 10), (2, 0.2, 10)], made)
    bare = [p.measured.model_copy(update={"tpot_ms": None, "itl_ms": None}) for p in found.points]
    points = tuple(
        p.model_copy(update={"measured": m}) for p, m in zip(found.points, bare, strict=True)
    )
    text, _ = page(inputs, made, found.model_copy(update={"points": points}))
    (figure,) = re.findall(r"aria-label=.(Time per output token[^>]*)", text)
    assert "Measured" not in figure


def test_what_was_measured_is_shown_with_its_confidence() -> None:
    """Beside each measured latency stands its interval; a rate has none."""
    inputs, made = planned()
    found = sweep([(2, 0.15, 190)], made)
    (point,) = found.points
    interval = {**point.measured.ttft_ms.confidence, "p50": (140.0, 171.0)}
    spread = point.measured.ttft_ms.model_copy(update={"confidence": interval})
    measured = point.measured.model_copy(update={"ttft_ms": spread})
    points = (point.model_copy(update={"measured": measured}),)
    _, shown = page(inputs, made, found.model_copy(update={"points": points}))
    assert "150 (140 to 171)" in shown.text
    assert " 190 " in shown.text


def test_a_target_far_above_is_said_and_not_drawn() -> None:
    """A minute beside milliseconds would press the curve to the ground."""
    inputs, made = planned(LOAD.model_copy(update={"ttft": Target(ms=60_000)}))
    text, found = page(inputs, made)
    assert "The target of 60,000 ms is far above." in found.text
    assert "60,000" not in "".join(re.findall(r"<svg.*?</svg>", text, re.DOTALL))


def test_names_are_text_and_not_markup() -> None:
    """A model's name is shown as it is, whatever is in it."""
    _, found = swept()
    assert "<script>alert(1)</script>&co" in found.text


def test_a_missing_library_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is planned or measured."""
    monkeypatch.setattr(write, "find_spec", lambda name: None if name == "matplotlib" else name)
    with pytest.raises(InputError, match=r"needs matplotlib; install: pip install 'tpdeploy"):
        write.check_report(Path("report.html"))
    write.check_report(None)


def test_a_folder_is_no_report(tmp_path: Path) -> None:
    """One line that says what would work."""
    with pytest.raises(InputError, match=r"is a folder; name a file, as report.html"):
        write.check_report(tmp_path)


def test_plan_writes_a_report(tmp_path: Path) -> None:
    """The file is there, its name is printed, and the plan is kept as ever."""
    file = tmp_path / "report.html"
    command = ["plan", "llama-8b", "--gpus", "1xH100", "--backend", "vllm"]
    result = tpdeploy(*command, "--report", str(file), home=tmp_path)
    assert result.returncode == 0, result.stderr
    assert f"Report in {file}." in result.stdout
    assert file.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert (tmp_path / "plan.yaml").exists()
