"""The Python interface: what it answers, what it refuses, and what type checkers see."""

import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tpdeploy
from tests.cli.commands import answered
from tests.scripts import script
from tpdeploy.cli.planfile import read_plan

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
PROGRAM = """
import tpdeploy

plan: tpdeploy.Plan = tpdeploy.plan("llama-70b", gpus="8xH100", concurrency=64)
width: int = plan.parallelism.tensor
ttft: float = plan.prediction.ttft_ms.value
tpot: float = tpdeploy.estimate("llama-70b", "8xH100", tp=4, rate=2.0).tpot_ms.value
best = tpdeploy.compare(["llama-8b", "llama-70b"], "8xH100").best
name: str = best.name if best else ""
rows: int = tpdeploy.backtest("runs.csv").groups[0].rows
with tpdeploy.launch(plan, port=8000, engine_args=["--seed=1"]) as running:
    url: str = running.url
    found = tpdeploy.validate(running, requests=32)
    measured: float = found.measured.output_tokens_per_s
    verdict: str = found.verdict
tpdeploy.validate("http://127.0.0.1:8000", plan="plan.yaml", rate=2.0)
"""
MISTAKES = """
import tpdeploy

tpdeploy.plan("llama-70b", gpus=8)
tpdeploy.plan("llama-70b", concurency=64)
tpdeploy.estimate("llama-70b", "8xH100")
tpdeploy.plan("llama-70b").prediction.ttft
tpdeploy.launch(8000)
tpdeploy.validate(8000)
tpdeploy.launch("plan.yaml").url.port
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TPDEPLOY_HOME", str(tmp_path))


def test_the_contract() -> None:
    """These names and no others; each is there."""
    functions = {"plan", "estimate", "compare", "launch", "validate", "backtest"}
    classes = {"Plan", "Comparison", "Running", "TpdeployError", "InputError", "InfeasibleError"}
    assert set(tpdeploy.__all__) == functions | classes | {"__version__"}
    assert all(getattr(tpdeploy, name) for name in tpdeploy.__all__)
    assert dir(tpdeploy) == sorted(tpdeploy.__all__)


def test_the_import_is_light() -> None:
    """Nothing of the package or of other libraries is loaded before it is needed."""
    program = "import sys; import tpdeploy; print([m for m in sys.modules if 'tpdeploy' in m])"
    ran = [sys.executable, "-c", program + "; print('pydantic' in sys.modules)"]
    assert subprocess.check_output(ran, text=True).splitlines() == ["['tpdeploy']", "False"]


@pytest.mark.slow
def test_the_plan_is_that_of_the_command(tmp_path: Path) -> None:
    """The same figures; and it can be launched once it is saved."""
    plan = tpdeploy.plan("llama-70b", gpus="8xH100")
    told = answered("plan", "llama-70b", "--gpus", "8xH100", "-o", "told.yaml")
    assert told.startswith(f"{plan.answer}\n")
    assert plan.prediction == read_plan(Path("told.yaml")).prediction
    assert read_plan(plan.save("mine.yaml")).parallelism == plan.parallelism
    assert str(plan) == plan.answer


def test_a_split_is_estimated_without_a_search() -> None:
    """Of that width, with as many replicas as fit."""
    alone = tpdeploy.estimate("llama-70b", "8xH100", tp=4)
    (other,) = (a for a in tpdeploy.plan("llama-70b", "8xH100").alternatives if a.tensor == 4)
    assert alone.output_tokens_per_s.value == other.output_tokens_per_s


@pytest.mark.slow
def test_several_are_compared() -> None:
    """Each combination, called by what differs; one that does not fit has a reason."""
    found = tpdeploy.compare("llama-70b", ["1xL40S", "4xH100"], backend="vllm")
    assert [each.name for each in found.compared] == ["1xL40S", "4xH100"]
    missing, there = found.compared
    assert missing.plan is None
    assert "does not fit" in missing.reason
    assert found.best is there


@pytest.mark.slow
def test_notebooks_show_the_same_figures() -> None:
    """As HTML, with what others wrote escaped."""
    plan = tpdeploy.plan("llama-70b", gpus="8xH100")
    shown = plan._repr_html_()
    assert plan.answer in shown
    told = answered("plan", "llama-70b", "--gpus", "8xH100")
    figures = re.findall(r"(?:TTFT|TPOT)\) +(\S+ ms)", told)
    assert len(figures) == 2
    assert [figure for figure in figures if figure not in shown] == []
    assert "<b>&lt;x&gt;" in plan.model_copy(update={"answer": "<x>"})._repr_html_()
    both = tpdeploy.compare("llama-70b", "8xH100", tp=[4, 8], backend="vllm")._repr_html_()
    assert "<td>TP 4</td>" in both


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"concurrency": -1}, tpdeploy.InputError, "concurrency -1: must be greater than 0"),
        ({"ttft_ms": 0}, tpdeploy.InputError, "ttft_ms 0: must be"),
        ({"rate": 1.0, "concurrency": 1}, tpdeploy.InputError, "give one of them"),
        ({"tp": 3}, tpdeploy.InputError, "legal widths"),
        ({"optimize": "speed"}, tpdeploy.InputError, "optimize speed: must be"),
        ({"backend": "vlm"}, tpdeploy.InputError, "did you mean vllm"),
        ({"gpus": "1xL40S"}, tpdeploy.InfeasibleError, "what would work"),
        ({"workload": 5}, tpdeploy.InputError, "^workload 5: must be text"),
        ({"lengths": {"a": 1}}, tpdeploy.InputError, "^lengths {'a': 1}: must be text"),
        ({"input_tokens": [1]}, tpdeploy.InputError, r"^input_tokens \[1\]: give tokens as 1024"),
        (
            {"max_model_len": "long"},
            tpdeploy.InputError,
            "^max_model_len long: give a whole number",
        ),
        ({"interconnect": 5}, tpdeploy.InputError, "^interconnect 5: must be text"),
        ({"dp": 2}, tpdeploy.InputError, "^dp 2: .* no experts to share; use replicas"),
        ({"gpus": 8}, tpdeploy.InputError, "^gpus 8: must be text"),
        ({"gpus": "1xH10"}, tpdeploy.InputError, r"^gpus 1xH10: .* \(all: tpdeploy gpus\)"),
        ({"ttft_ms": 1}, tpdeploy.InfeasibleError, "what would work: ttft_ms "),
        ({"concurency": 1}, TypeError, "unexpected keyword argument 'concurency'"),
    ],
)
@pytest.mark.slow
def test_what_cannot_work_is_refused(
    options: dict[str, Any], error: type[Exception], words: str
) -> None:
    """With the name, the value and what would work."""
    with pytest.raises(error, match=words):
        tpdeploy.plan("llama-70b", **{"gpus": "8xH100", **options})


def test_nothing_to_compare() -> None:
    """One case is none."""
    with pytest.raises(tpdeploy.InputError, match="two or more"):
        tpdeploy.compare("llama-70b", "8xH100")


def test_measured_runs_are_held_against_predictions() -> None:
    """As the command does it."""
    columns = "model,gpu,gpu_count,tp,pp,dp,precision,engine,input_tokens,output_tokens,concurrency"
    Path("runs.csv").write_text(
        f"{columns},ttft_ms,tpot_ms\n"
        "Qwen/Qwen3-32B,H100 SXM 80GB,2,2,1,1,,vllm,1024,128,16,187,22\n"
    )
    everything, *_ = tpdeploy.backtest("runs.csv").groups
    assert everything.predicted == 1
    with pytest.raises(tpdeploy.InputError, match=r"cannot read none\.csv"):
        tpdeploy.backtest("none.csv")


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
@pytest.mark.slow
def test_the_page_runs(block: str) -> None:
    """Each example of docs/python.md."""
    Path("example.py").write_text(block, encoding="utf-8")
    runpy.run_path("example.py")


@pytest.mark.processes
def test_the_reference_is_current() -> None:
    """`python scripts/list_python.py` would change nothing."""
    made = script("list_python")
    assert made.PAGE.read_text(encoding="utf-8") == made.page()


def test_the_reference_has_every_name() -> None:
    """Of the contract, each has its heading."""
    headings = set(re.findall(r"^### (\w+)$", script("list_python").page(), re.MULTILINE))
    assert set(tpdeploy.__all__) - headings == {"__version__"}


@pytest.mark.processes
def test_a_type_checker_from_outside(tmp_path: Path) -> None:
    """A correct program passes strict checks; each mistake is found."""
    assert _checked(tmp_path, PROGRAM) == []
    assert len(_checked(tmp_path, MISTAKES)) == 7


def _checked(folder: Path, program: str) -> list[str]:
    """The errors that mypy finds in a program that is not part of this project."""
    (folder / "program.py").write_text(program, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--config-file="]
    ran = subprocess.run(
        [*command, "--cache-dir", str(folder / "cache"), "program.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return [line for line in ran.stdout.splitlines() if "error:" in line]
