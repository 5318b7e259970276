"""Earlier releases of an engine: slower where they are recorded, and only those."""

import pytest

from tests.harness.runs import run
from tpdeploy.harness.backtest.rows import case_of
from tpdeploy.profiles.devices.accelerator import Serving
from tpdeploy.profiles.devices.catalog import efficiency_of
from tpdeploy.profiles.devices.releases import earlier_releases


def serving_of(**columns: str) -> Serving:
    """What a run of the columns is predicted with."""
    inputs = case_of({**run(), **columns}).readings[0].inputs
    return inputs.cluster.efficiency.serving


def test_a_run_of_an_earlier_release_takes_its_times() -> None:
    """vLLM 0.5 takes longer for each step, sequence and token of context; 0.8 as today.

    Between them, so does a step that reads prompts, and the range of TTFT is one of measurements.
    """
    today = serving_of(engine_version="", date="")
    earlier = serving_of(engine_version="0.5.4", date="")
    for name in ("step_s", "group_step_s", "sequence_s", "context_s"):
        assert getattr(earlier, name) > getattr(today, name)
    between = serving_of(engine_version="0.6.0", date="")
    assert today.step_s < between.step_s < today.step_s + 1e-3
    assert between.prompt_step_s == pytest.approx(today.prompt_step_s + 0.018)
    assert serving_of(engine_version="0.8.0", date="") == today


def test_a_history_may_begin_with_a_release() -> None:
    """TensorRT-LLM 0.11 took longer; 0.8, of which other runs are known, as today."""
    engine = {"engine": "trtllm", "date": ""}
    today = serving_of(**engine, engine_version="")
    assert serving_of(**engine, engine_version="0.11").step_s > today.step_s
    assert serving_of(**engine, engine_version="0.8") == today
    assert serving_of(**engine, engine_version="0.12") == today


def test_the_date_tells_where_the_version_is_not_stated() -> None:
    """A run of August 2024 is of a release before 0.6."""
    assert serving_of(engine_version="", date="2024-08") == serving_of(engine_version="0.5.4")
    assert serving_of(engine_version="", date="2025-04") != serving_of(engine_version="0.5.4")


def test_an_engine_measured_alone_keeps_what_its_core_takes() -> None:
    """Without a server, the time for each sequence that the engine itself takes stays."""
    alone = serving_of(engine_version="0.5.4", server="no")
    (before,) = (e for e in earlier_releases("vllm", "cuda") if (e.major, e.minor) == (0, 6))
    assert alone.sequence_s == pytest.approx(before.sequence_s)


def test_an_earlier_release_has_a_range_of_its_own() -> None:
    """Of TPOT and rates; that of TTFT is today's unless runs tell. Kinds make no difference."""
    oldest, before = earlier_releases("vllm", "cuda")
    today = efficiency_of("hopper")
    assert before.of(today).errors.tpot == before.error != today.errors.tpot
    assert before.of(today).errors.ttft == before.ttft_error
    assert oldest.of(today).errors.ttft == today.errors.ttft
    assert oldest.of(today).errors.of("latent", joined=True).tpot == oldest.error


def test_platforms_have_histories_of_their_own() -> None:
    """On ROCm, kernels before 0.6 were slower than today's; on CUDA only the host was."""
    cuda, rocm = (earlier_releases("vllm", platform)[0] for platform in ("cuda", "rocm"))
    assert (cuda.memory, cuda.compute) == (1, 1)
    assert max(rocm.memory, rocm.compute) < 1
    device = {"gpu": "MI300X", "gpu_count": "1", "tp": "1", "date": "", "precision": "bf16"}
    then, now = (serving_of(**device, engine_version=v) for v in ("0.5", "0.9"))
    assert then.memory < now.memory


def test_an_engine_without_a_history_is_todays() -> None:
    """No file, no earlier releases."""
    assert earlier_releases("deepspeed-mii", "cuda") == ()


def test_factors_multiply_todays_rates() -> None:
    """Times are added, factors multiplied, and nothing else changes."""
    today = efficiency_of("hopper")
    (before,) = (e for e in earlier_releases("vllm", "cuda") if (e.major, e.minor) == (0, 6))
    halved = before.changed(memory=0.5, error=None).of(today)
    assert halved.serving.memory == pytest.approx(today.serving.memory / 2)
    assert halved.serving.step_s == pytest.approx(today.serving.step_s + before.step_s)
    assert (halved.kernels, halved.errors) == (today.kernels, today.errors)


def test_heads_share_reads_beside_prompts_before_they_were_one_call() -> None:
    """On A100 not since vLLM 0.8; before, prompts and decodes were calls of their own."""

    def alone(version: str) -> bool | None:
        row = {**run(), "gpu": "A100 SXM 80GB", "engine_version": version, "date": ""}
        kernels = case_of(row).readings[0].inputs.cluster.efficiency.kernels
        return kernels.decode_attention["bf16"].alone_beside_prompts

    assert [alone(version) for version in ("0.5.4", "0.7.3", "0.8.0", "")] == [
        None,
        None,
        True,
        True,
    ]
