"""A row of a table of measured runs becomes the question that the run answers."""

import runpy
from pathlib import Path

import pytest

from tests.harness.runs import run
from tpdeploy.backends.rules import rules_on
from tpdeploy.errors import InputError
from tpdeploy.harness.backtest.prediction import Failed, predict_row
from tpdeploy.harness.backtest.rows import (
    DRAWN_SPREAD,
    MOST_MEMORY,
    adapter_of,
    case_of,
    cluster_of,
    lengths_of,
    ranks_of_group,
    rules_of,
)
from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.protocol import Protocol
from tpdeploy.profiles.devices.catalog import find_accelerator
from tpdeploy.profiles.record import Dtype

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_more_gpus_than_a_machine_has_are_on_several() -> None:
    """16 H200 are two machines of eight; of a rack-scale fabric, trays; DGX Spark, each its own."""
    cluster = cluster_of("H200 SXM 141GB", 16, "vllm")
    assert (cluster.count, cluster.machines) == (16, 2)
    assert [cluster_of(gpu, 8, "vllm").machines for gpu in ("GB200", "GB10")] == [2, 8]


def test_a_plain_row_is_read_as_it_stands() -> None:
    """Split, load and measurements are those of the columns."""
    case = case_of(run(tp="2", dp="2", gpu_count="4", concurrency="8.0"))
    first = case.readings[0]
    assert first.parallelism == Parallelism(tensor=2, replicas=2)
    assert first.inputs.cluster.count == 4
    assert first.inputs.workload.concurrency == 8
    assert first.inputs.kv_cache_dtype is Dtype.BF16
    assert first.assumed == ("steps of at most 2,528 tokens",)
    assert (case.ttft_ms, case.tpot_ms) == (60, 8)


def test_engines_are_known_by_their_names() -> None:
    """Each engine's own name reaches the planner, with its rule for memory."""
    rules = [case_of(run(engine=name)).readings[0].inputs.engine for name in ENGINES_WRITTEN]
    assert [rule.name for rule in rules] == ["vllm", "tensorrt-llm", "tensorrt-llm", "sglang"]
    assert rules[1].fraction_of == "free after weights"


ENGINES_WRITTEN = ("vLLM", "trtllm", "TensorRT-LLM", "SGLang")


@pytest.mark.parametrize(
    ("engine", "version", "date", "ahead"),
    [
        ("vllm", "0.12.0", "", False),
        ("vllm", "v0.19.0", "2025-01-01", True),
        ("vllm", "nightly-5b8c30d", "", True),
        ("vllm", "", "2025-10-08", False),
        ("vllm", "", "2026-03-01", True),
        ("vllm", "", "", True),
        ("trtllm", "", "2025-10-08", True),
    ],
)
def test_a_vllm_of_its_time_is_predicted(engine: str, version: str, date: str, ahead: bool) -> None:
    """Asynchronous scheduling is the default from 0.14 on; today's where nothing is said."""
    assert rules_of(adapter_of(engine), "H100", version, date).async_scheduling is ahead


def test_an_engine_without_a_built_in_adapter_is_that_of_the_example() -> None:
    """SGLang's rules are written twice: as its published runs are read, and in its adapter."""
    example = EXAMPLES / "sglang-backend" / "src" / "tpdeploy_sglang" / "__init__.py"
    adapter = runpy.run_path(str(example))["SglangBackend"]()
    own, told = rules_of("sglang", "H100"), rules_on(adapter, find_accelerator("H100"))
    for fact in ("name", "memory_fraction", "fraction_of", "own_kernels"):
        assert getattr(own, fact) == getattr(told, fact)
    assert own.prefill_priority is told.prefill_priority is True
    assert own.async_scheduling is told.async_scheduling is True


@pytest.mark.parametrize(
    ("tokens", "stated", "budget"),
    [
        (("1024", "1024"), "", None),
        (("1024", "128"), "", 1024 + 4 + 1500),
        (("1024", "128"), "8192", 8192),
        (("1024", "1024"), "2048", 2048),
    ],
)
def test_tokens_in_a_step(tokens: tuple[str, str], stated: str, budget: int | None) -> None:
    """As stated; else the engine's default, or what aiconfigurator gives at other lengths."""
    row = run(input_tokens=tokens[0], output_tokens=tokens[1], concurrency="8", tp="1", dp="2")
    first = case_of({**row, "max_num_batched_tokens": stated}).readings[0]
    assert first.inputs.max_num_batched_tokens == budget
    assert any("steps of at most" in words for words in first.assumed) == bool(budget)


def test_an_engine_may_have_been_measured_alone() -> None:
    """Without a server nothing is spent on a token or a request but in the engine."""
    alone = case_of({**run(), "server": "no", "output_tokens_per_s": "900"})
    assert (alone.served, alone.output_tokens_per_s) == (False, 900)
    serving = alone.readings[0].inputs.cluster.efficiency.serving
    assert (serving.sequence_s, serving.request_s) == (0, 0)
    assert serving.step_s > 0
    assert case_of(run()).served


def test_requests_and_memory_may_be_stated() -> None:
    """All at once, 12 requests of equal lengths over 8 clients; the engine's share of memory."""
    (first, *_) = case_of({**run(), "requests": "12", "memory_fraction": "0.5"}).readings
    asked = Protocol(requests_per_client=1.5, fewest_requests=1, warm_up=0, together=True)
    assert first.inputs.protocol == asked
    assert first.inputs.engine.memory_fraction == 0.5


def test_what_a_row_does_not_state_is_said() -> None:
    """The KV cache's format, and GPUs that the split leaves idle."""
    first = case_of(run(precision="fp8", gpu_count="4")).readings[0]
    assert first.inputs.kv_cache_dtype is Dtype.FP8
    steps = "steps of at most 2,532 tokens"
    assert first.assumed == ("fp8 KV cache assumed", "tp x pp x dp uses 1 of the 4 GPUs", steps)
    mxfp4 = case_of(run(model="openai/gpt-oss-120b", precision="fp4")).readings[0]
    assert mxfp4.inputs.kv_cache_dtype is Dtype.BF16


def test_experts_are_not_replicated_with_attention() -> None:
    """dp of a model with experts is data-parallel attention with whole experts, else replicas."""
    row = run(model="openai/gpt-oss-120b", tp="2", dp="4", gpu_count="8")
    first, second, *_ = case_of(row).readings
    assert first.parallelism == Parallelism(tensor=2, data=4, expert=8)
    assert "dp 4" in first.assumed[-1]
    assert second.parallelism == Parallelism(tensor=2, replicas=4)


@pytest.mark.parametrize(
    ("engine", "tensor", "copies", "expected"),
    [
        ("trtllm", "1", "8", Parallelism(tensor=1, data=8, expert=8)),
        ("trtllm", "1", "64", Parallelism(tensor=1, data=8, expert=8)),
        ("vllm", "4", "4", Parallelism(tensor=4, expert=4)),
        ("sglang", "1", "8", Parallelism(tensor=8, expert=8)),
    ],
)
def test_data_ranks_are_counted_as_the_table_counts_them(
    engine: str, tensor: str, copies: str, expected: Parallelism
) -> None:
    """One group where tp and dp name the same GPUs, or the engine is not known to have them."""
    row = run(model="openai/gpt-oss-120b", engine=engine, tp=tensor, dp=copies, gpu_count="64")
    assert case_of(row).readings[0].parallelism == expected


@pytest.mark.parametrize(
    ("engine", "tokens", "steps"),
    [("trtllm", "1024", 60), ("trtllm", "1000", 0), ("vllm", "1024", 0)],
)
def test_prompts_wait_for_other_data_ranks_where_the_benchmark_says_so(
    engine: str, tokens: str, steps: int
) -> None:
    """InferenceMAX tells TensorRT-LLM to; its lengths are known, and no column says it."""
    row = run(engine=engine, input_tokens=tokens, output_tokens=tokens)
    assert case_of(row).readings[0].inputs.engine.prompt_wait_steps == steps


@pytest.mark.parametrize(
    ("tensor", "copies", "ranks"),
    [(4, 4, 4), (2, 2, 2), (2, 4, 8), (1, 8, 8), (1, 4, 4), (1, 16, 4), (1, 64, 8), (1, 32, 32)],
)
def test_gpus_are_counted_once(tensor: int, copies: int, ranks: int) -> None:
    """dp equal to tp names the same GPUs; n x n experts' splits stand for n GPUs."""
    assert ranks_of_group(tensor, copies) == ranks


def test_a_run_that_did_fit_may_have_had_more_memory() -> None:
    """The last reading gives the engine nearly all of it, and says so."""
    last = case_of(run()).readings[-1]
    assert last.inputs.engine.memory_fraction == MOST_MEMORY
    assert "97% of the memory assumed for vllm" in last.assumed


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"model": "no-such-model"}, "unknown model 'no-such-model'"),
        ({"gpu": "H1000"}, "unknown GPU H1000"),
        ({"engine": "lmdeploy"}, "unknown engine 'lmdeploy'"),
        ({"precision": "fp5"}, "precision 'fp5'"),
        ({"tp": ""}, "tp ''"),
        ({"tp": "0"}, "tp '0'"),
        ({"concurrency": "many"}, "concurrency 'many'"),
        ({"concurrency": "nan"}, "concurrency 'nan'"),
        ({"input_tokens": "10.5"}, "input_tokens '10.5'"),
        ({"output_tokens": "-1"}, "output_tokens '-1'"),
        ({"ttft_ms": "-3"}, "ttft_ms '-3'"),
        ({"tpot_ms": "fast"}, "tpot_ms 'fast'"),
        ({"dp": "0", "gpu_count": "0"}, "disaggregated serving"),
        ({"server": "maybe"}, "server 'maybe': need yes, no"),
        ({"requests": "0"}, "requests '0'"),
        ({"memory_fraction": "95"}, "memory_fraction '95': need a share"),
        ({"output_tokens_per_s": "-1"}, "output_tokens_per_s '-1'"),
    ],
)
def test_what_cannot_be_read_is_refused(changed: dict[str, str], words: str) -> None:
    """The refusal names the column's value."""
    with pytest.raises(InputError) as refusal:
        case_of(run(**changed))
    assert words in str(refusal.value)


def test_blank_cells_have_plain_meanings() -> None:
    """No pp, dp, gpu_count: one; no measurement: nothing to compare with."""
    case = case_of(run(pp="", dp="", gpu_count="", ttft_ms="", tpot_ms=""))
    assert case.readings[0].parallelism == Parallelism(tensor=1)
    assert (case.ttft_ms, case.tpot_ms) == (None, None)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"gpu_count": "999999937", "dp": "999999937"}, "dp '999999937': need a whole number from"),
        ({"model": "a" * 300}, "File name too long"),
        ({"concurrency": "1e308"}, "concurrency '1e308': need a whole number from 1 to"),
        ({"output_tokens": "1e308"}, "output_tokens '1e308': need a whole number from 1 to"),
        ({"tp": "99991", "pp": "99991"}, "are more than 100,000"),
        ({"ttft_ms": "1e300"}, "ttft_ms '1e300': need a number above 0"),
        ({"engine_version": "9" * 5000 + ".1"}, ""),
    ],
)
def test_cells_that_nobody_can_mean_lose_their_row_alone(
    changes: dict[str, str], words: str
) -> None:
    """Each is a reason at once, and never the end of the table."""
    found = predict_row(run(**changes))
    assert words in found.reason if isinstance(found, Failed) else words == ""


def test_a_prime_count_of_gpus_is_one_machine_each() -> None:
    """No machine holds as many, and nothing divides them."""
    cluster = cluster_of("H100", 99_991, "vllm")
    assert (cluster.count, cluster.machines) == (99_991, 99_991)


def test_lengths_of_a_known_sample_are_shaped_like_it() -> None:
    """Means that benchmarks report of ShareGPT; not where the row says how lengths spread."""
    row = run(input_tokens="217", output_tokens="202")
    (lengths,) = {reading.inputs.workload.lengths for reading in case_of(row).readings}
    assert lengths is not None
    assert (lengths.name, lengths.means) == ("sharegpt", (217, 202))
    for stated in ({"length_spread": "0.2"}, {"output_tokens": "352"}):
        assert case_of({**row, **stated}).readings[0].inputs.workload.lengths is None


@pytest.mark.parametrize(
    ("inputs", "outputs", "spread"),
    [
        ("1000", "100", 0.0),
        ("1536", "127", 0.0),
        ("3996", "1021", 0.0),
        ("247", "352", DRAWN_SPREAD),
        ("500", "505", DRAWN_SPREAD),
    ],
)
def test_lengths_that_nobody_sets_were_drawn(inputs: str, outputs: str, spread: float) -> None:
    """Means of drawn lengths spread; set ones, or texts made for them, are equal."""
    row = run(input_tokens=inputs, output_tokens=outputs)
    assert lengths_of(row)[2] == spread
    assert lengths_of({**row, "length_spread": "0.1"})[2] == 0.1


def test_a_named_workload_gives_lengths_their_shape() -> None:
    """In proportion, with the means of the row."""
    row = run(input_tokens="217", output_tokens="202", concurrency="8", tp="1", dp="1")
    load = case_of({**row, "workload": "chat"}).readings[0].inputs.workload
    assert load.lengths
    assert load.input_tokens == pytest.approx(217, abs=2)
    assert load.output_tokens == pytest.approx(202, abs=2)
    assert load.longest_tokens > 4 * (217 + 202)
    with pytest.raises(InputError, match="length_spread and workload: both say how lengths differ"):
        case_of({**row, "workload": "chat", "length_spread": "0.2"})


@pytest.mark.parametrize(("stated", "most"), [("", None), ("256", 256)])
def test_sequences_in_a_step(stated: str, most: int | None) -> None:
    """As stated; else as many as are in flight."""
    row = run(input_tokens="217", output_tokens="202", concurrency="1000", tp="1", dp="1")
    assert case_of({**row, "max_num_seqs": stated}).readings[0].inputs.max_num_seqs == most


@pytest.mark.parametrize(
    ("changed", "most"),
    [
        ({"gpu": "A100-SXM4-80GB"}, 256),
        ({"gpu": "L40S"}, 256),
        ({}, None),
        ({"engine_version": "0.7.3"}, 256),
        ({"gpu": "A100-SXM4-80GB", "requests": ""}, None),
        ({"gpu": "A100-SXM4-80GB", "engine": "sglang"}, None),
    ],
)
def test_who_starts_vllm_by_hand_gets_its_default(
    changed: dict[str, str], most: int | None
) -> None:
    """256 sequences a step on A100, on small GPUs and in old releases; not in generated runs."""
    row = run(**{"requests": "1000", "concurrency": "1000", **changed})
    assert case_of(row).readings[0].inputs.max_num_seqs == most
