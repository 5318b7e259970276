"""Plans for requests of drawn, named and recorded lengths, as a user meets them."""

import json
from pathlib import Path

import pytest

from tests.cli.commands import answered, refused, tpdeploy
from tpdeploy.api.functions import plan
from tpdeploy.cli.planfile import read_plan
from tpdeploy.planner.serving import simulation
from tpdeploy.profiles.workloads import workload_names

PLAN = ("plan", "llama-8b", "--gpus", "1xL40S")


@pytest.mark.slow
def test_a_named_workload_is_shown_with_its_source(tmp_path: Path) -> None:
    """And is the same in the plan file."""
    result = tpdeploy(*PLAN, "--workload", "chat", home=tmp_path)
    assert result.returncode == 0, result.stderr
    told = " ".join(result.stdout.split())
    assert "Lengths: chat, prompts of 1,155 tokens (p50 1,020, p95 4,0" in told
    assert "AzureLLMInferenceTrace_conv (CC-BY-4.0): an hour of a conversation service" in told
    assert "2023-11-16" in told
    assert "Assumed: 32 requests in flight." in told
    load = read_plan(tmp_path / "plan.yaml").workload
    assert load.lengths
    assert len(load.lengths.pairs) == 1000
    assert (load.input_tokens, load.output_tokens) == load.lengths.means


def test_the_same_question_has_the_same_answer() -> None:
    """Lengths are drawn, and never by chance; the API gives what the command does."""
    asked = ("--input-tokens", "mean=300,p95=900", "--output-tokens", "50..150")
    one, again = (json.loads(answered(*PLAN, *asked, "--json")) for _ in range(2))
    assert one == again
    found = plan("llama-8b", "1xL40S", input_tokens="mean=300,p95=900", output_tokens="50..150")
    assert json.loads(found.model_dump_json())["prediction"] == one["prediction"]


def test_spread_lengths_are_slower_than_their_mean() -> None:
    """A few long prompts stop the others' answers."""
    means = plan("llama-8b", "1xL40S", input_tokens=2048, output_tokens=28, concurrency=8)
    code = plan("llama-8b", "1xL40S", workload="code", concurrency=8)
    at_p95 = code.prediction.ttft_distribution.p95
    assert at_p95 > 1.25 * means.prediction.ttft_distribution.p95


@pytest.mark.parametrize("name", ["code", "reasoning"])
@pytest.mark.slow
def test_enough_requests_are_simulated(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens/s and the median TTFT are those of four times as many."""
    usual = plan("llama-8b", "1xH100", workload=name, backend="vllm").prediction
    monkeypatch.setattr(simulation, "FEWEST_DRAWN", 4000)
    simulation.serve.cache_clear()
    many = plan("llama-8b", "1xH100", workload=name, backend="vllm").prediction
    simulation.serve.cache_clear()
    for figure in ("output_tokens_per_s", "ttft_ms", "tpot_ms"):
        one, other = (getattr(each, figure).value for each in (usual, many))
        assert one == pytest.approx(other, rel=0.07)


def test_recorded_lengths_are_planned_pair_by_pair(tmp_path: Path) -> None:
    """Each row is a request of the plan."""
    file = tmp_path / "mine.csv"
    file.write_text("input_tokens,output_tokens\n100,10\n2000,20\n")
    found = plan("llama-8b", "1xL40S", lengths=file)
    assert found.workload.lengths
    assert sorted(found.workload.lengths.pairs) == [(100, 10), (2000, 20)]
    assert any(f"{file}: 2 requests." in line for line in found.depends_on)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--workload", "chta"), "no workload 'chta'; did you mean chat?"),
        (
            ("--workload", "chat", "--input-tokens", "5"),
            "--workload and --input-tokens: both say how long requests are; give one",
        ),
        (("--lengths", "x", "--workload", "chat"), "--workload and --lengths: both say"),
        (("--input-tokens", "many"), "--input-tokens many: give tokens as 1024, 512..4096"),
        (
            ("--input-tokens", "5..9", "--output-tokens", "5..9", "--length-spread", "0.1"),
            "--length-spread 0.1: prompts and answers already have a distribution; leave it out",
        ),
        (
            ("--input-tokens", "5..9", "--length-spread", "2"),
            "--length-spread 2: must be from 0 to 0.9",
        ),
        (
            ("--workload", "reasoning", "--max-model-len", "2048"),
            "reasoning: 72% of the requests are longer than the 2,048 tokens there is room for",
        ),
    ],
)
def test_what_cannot_be_is_refused(args: tuple[str, ...], words: str) -> None:
    """In one line that names the option."""
    assert words in refused(*PLAN, *args)


def test_workloads_are_listed_and_shown() -> None:
    """Each with its lengths, its source and its date."""
    listed = json.loads(answered("workloads", "--json"))["workloads"]
    assert [each["name"] for each in listed] == list(workload_names())
    assert all(each["source"] and each["date"] for each in listed)
    assert answered("workloads", "editor", width=80).splitlines()[1].split()[0] == "code"
    assert "p95 4,083" in answered("show", "chat")
    assert "did you mean rag?" in refused("workloads", "ragg")
