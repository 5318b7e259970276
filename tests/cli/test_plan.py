"""`tpdeploy plan` and `explain` as a user meets them: answers, files, errors and exit codes."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.commands import refused, tpdeploy
from tests.profiles.public import record
from tpdeploy.cli.planfile import read_plan
from tpdeploy.errors import InputError
from tpdeploy.planner.workload import DRAFT_COST

JSON_KEYS = {
    "model",
    "cluster",
    "parallelism",
    "placement",
    "prediction",
    "memory_per_gpu",
    "reasons",
    "alternatives",
}
PRICED = ("--gpu-price", "3.5", "--tp", "8")


def test_the_plan_is_shown_and_remembered(tmp_path: Path) -> None:
    """`--all` prints reasons, memory and other splits, and the plan is the current one."""
    result = tpdeploy("plan", "llama-70b", "--gpus", "8xH100", "--all", home=tmp_path)
    assert result.returncode == 0, result.stderr
    for words in ("TP 8 x 1 replica", "Why", "Memory per GPU", "Other splits", "Assumed", "TPOT"):
        assert words in result.stdout
    plan = tmp_path / "plan.yaml"
    assert read_plan(plan).parallelism.tensor == 8


def test_a_plan_says_what_it_replaces(tmp_path: Path) -> None:
    """What launch would have started is named and kept; the same plan again replaces nothing."""
    asked = ("plan", "llama-8b", "--backend", "vllm", "--gpus")
    first = tpdeploy(*asked, "1xH100", home=tmp_path)
    again = tpdeploy(*asked, "1xH100", home=tmp_path)
    aside = tpdeploy(*asked, "2xH100", "-o", str(tmp_path / "aside.yaml"), home=tmp_path)
    assert [first.stderr, again.stderr, aside.stderr] == ["", "", ""]
    other = tpdeploy(*asked, "2xH100", "--json", home=tmp_path)
    assert "The one before, meta-llama/Llama-3.1-8B-Instruct with vllm, TP 1 x 1" in other.stderr
    assert other.stderr.count("\n") == 1
    assert read_plan(tmp_path / "previous-plan.yaml").cluster.count == 1
    assert read_plan(tmp_path / "plan.yaml").cluster.count == 2


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize(
    "args",
    [
        ["llama-70b", "--gpus", "8xH100"],
        ["llama-70b", "--gpus", "8xH100", "--all"],
        ["deepseek-v3", "--gpus", "2x8xH200", *PRICED, "--pareto", "--all"],
        ["deepseek-v3", "--gpus", "2x8xH200", *PRICED],
    ],
)
def test_nothing_is_wider_than_the_terminal(tmp_path: Path, args: list[str], width: int) -> None:
    """Every line fits, but for the path of the plan, which is never broken."""
    result = tpdeploy("plan", *args, home=tmp_path, width=width)
    lines = [line for line in result.stdout.splitlines() if str(tmp_path) not in line]
    assert max(map(len, lines)) <= width
    assert lines == [line.rstrip() for line in lines]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("blip-2", "2.0 GiB of the weights are encoders of images and sound"),
        ("vibevoice", "what config.json describes as audio_config takes memory besides"),
        ("arcee", ""),
    ],
)
def test_the_encoders_of_a_multimodal_model_are_shown(
    tmp_path: Path, name: str, words: str
) -> None:
    """How much of the weights they are, or that they are not counted; of text models nothing."""
    folder = tmp_path / name
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(record(name)["config"]), encoding="utf-8")
    args = ("--gpus", "1xH100", "--input-tokens", "100", "--output-tokens", "50")
    result = tpdeploy("plan", str(folder), *args, "--all", home=tmp_path, width=300)
    assert result.returncode == 0, result.stderr
    assert words in result.stdout
    assert bool(words) == ("are encoders" in result.stdout or "takes memory" in result.stdout)
    assert bool(words) == ("images or sound is not in the predicted TTFT" in result.stdout)


def test_json_has_the_promised_keys(tmp_path: Path) -> None:
    """`--json` is one document with every promised key, and estimates with ranges and sources."""
    result = tpdeploy("plan", "llama-8b", "--gpus", "2xL40S", "--json", home=tmp_path)
    answer = json.loads(result.stdout)
    assert set(answer) >= JSON_KEYS
    assert set(answer["parallelism"]) >= {"tensor", "pipeline", "replicas"}
    for metric in ("ttft_ms", "tpot_ms", "output_tokens_per_s"):
        estimate = answer["prediction"][metric]
        assert estimate["low"] <= estimate["value"] <= estimate["high"]
        assert estimate["source"]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["lama-70b", "--gpus", "8xH100"], "did you mean llama-70b"),
        (["llama-8b", "--gpus", "0xH100"], "counts must be at least 1"),
        (["llama-8b", "--gpus", "8xFOO"], "unknown GPU FOO"),
        (["llama-8b", "--gpus", "8xH100", "--tp", "3"], "legal widths"),
        (["smollm2", "--gpus", "4xH100", "--tp", "2"], "9 attention heads"),
        (["llama-8b", "--gpus", "8xH100", "--input-tokens", "-5"], "--input-tokens -5"),
        (["llama-8b", "--gpus", "8xH100", "--input-tokens", "200000"], "context"),
        (["llama-8b", "--gpus", "8xH100", "--max-model-len", "999999"], "context"),
        (["llama-8b", "--gpus", "8xH100", "--tp", "0"], "--tp 0"),
        (["llama-8b", "--gpus", "8xH100", "--replicas", "9"], "--replicas up to 8"),
        (["llama-8b", "--gpus", "8xH100", "--ttft", "fast"], "--ttft fast"),
        (["llama-8b", "--gpus", "8xH100", "--tpot", "30@p98"], "p98"),
        (["llama-8b", "--gpus", "8xH100", "--rate", "0"], "--rate 0"),
        (["llama-8b", "--gpus", "8xH100", "--rate", "1", "--concurrency", "1"], "not both"),
        (["llama-8b", "--gpus", "8xH100", "--dtype", "fp7"], "--dtype fp7"),
        (["llama-8b", "--gpus", "8xH100", "--quantization", "awq"], "--quantization awq"),
        (["llama-8b", "--gpus", "8xL40S", "--interconnect", "nvlink"], "pcie-gen4"),
        (["llama-8b", "--gpus", "8xH100", "--network", "efa-400g"], "state several, as 2x8xH200"),
        (["llama-8b", "--gpus", "2x8xH100", "--network", "efa"], "did you mean efa-400g"),
        (["llama-8b", "--gpus", "8xH100", "--backend", "vlm"], "did you mean vllm"),
        (["llama-8b", "--gpus", "8xH100", "--optimize", "speed"], "speed"),
        (["llama-8b", "--gpus", "8xH100", "--optimize", "fewest"], "fewest"),
        (["llama-8b", "--gpus", "8xH100", "--pp", "0"], "--pp 0"),
        (["llama-8b", "--gpus", "8xH100", "--pp", "9"], "--pp up to 8"),
        (["llama-8b", "--gpus", "8xH100", "--ep"], "has no experts"),
        (["llama-8b", "--gpus", "8xH100", "--dp", "2"], "no experts to share; use --replicas"),
        (["mixtral-8x7b", "--gpus", "8xH100", "--dp", "0"], "--dp 0"),
        (["mixtral-8x7b", "--gpus", "8xH100", "--dp", "9"], "--tp x --dp up to 8"),
        (["llama-8b", "--gpus", "8xH100", "--max-num-seqs", "0"], "--max-num-seqs 0"),
        (["llama-8b", "--gpus", "8xH100", "--memory-fraction", "1.5"], "and at most 1, as 0.95"),
        (["llama-8b", "--gpus", "8xH100", "--memory-fraction", "0"], "--memory-fraction 0"),
        (
            ["llama-8b", "--gpus", "1xH100", "--enforce-eager", "--backend", "deepspeed-mii"],
            "cannot be told to leave out CUDA graphs: plan without --enforce-eager",
        ),
        (["llama-8b", "--gpus", "8xH100", "--gpu-price", "-1"], "--gpu-price -1"),
        (
            ["llama-8b", "--gpus", "8xH100", "--prefix-cache-hit-rate", "1.5"],
            "--prefix-cache-hit-rate 1.5: must be less than or equal to 1",
        ),
        (
            ["llama-8b", "--gpus", "8xH100", "--speculative-tokens", "3"],
            "give --acceptance-rate too",
        ),
        (
            ["llama-8b", "--gpus", "8xH100", "--acceptance-rate", "0.7"],
            "has no effect without --speculative-tokens",
        ),
        (
            ["llama-8b", "--gpus", "8xH100", "--speculative-tokens", "3", "--acceptance-rate", "2"],
            "--acceptance-rate 2",
        ),
    ],
)
def test_bad_input_is_one_clear_line(tmp_path: Path, args: list[str], words: str) -> None:
    """Exit code 2, the value and what would work, and no plan is left behind."""
    assert words in refused("plan", *args, home=tmp_path)
    assert not (tmp_path / "plan.yaml").exists()


def planned(*args: str, home: Path) -> dict[str, Any]:
    """The plan as JSON, of vLLM unless another engine is named."""
    engine = () if "--backend" in args else ("--backend", "vllm")
    result = tpdeploy("plan", *args, *engine, "--json", home=home)
    assert result.returncode == 0, result.stderr
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


@pytest.mark.slow
def test_without_a_count_the_answer_is_how_many(tmp_path: Path) -> None:
    """A rate and a GPU's name: as many as carry it, and what the others would need."""
    args = ["llama-70b", "--gpus", "H100", "--rate", "30", "--ttft", "500", "--tpot", "50"]
    answer = planned(*args, home=tmp_path)
    assert answer["cluster"]["count"] > 4
    assert answer["prediction"]["tpot_ms"]["value"] <= 50
    assert any("needs" in other["reason"] for other in answer["alternatives"])
    assert "The count was left open" in answer["cluster"]["assumptions"][0]


@pytest.mark.slow
def test_a_load_that_no_count_carries_exits_with_3(tmp_path: Path) -> None:
    """As JSON too: what was looked at, and what comes closest."""
    args = ["llama-8b", "--gpus", "H100", "--rate", "1", "--tpot", "0.01", "--backend", "vllm"]
    result = tpdeploy("plan", *args, "--json", home=tmp_path)
    assert result.returncode == 3
    assert "of up to 64 GPUs meets the targets" in result.stderr
    answer = json.loads(result.stdout)
    assert answer["feasible"] is False
    assert all("misses" in a["reason"] for a in answer["alternatives"] if a["tpot_ms"])


def test_a_price_gives_what_tokens_cost(tmp_path: Path) -> None:
    """Devices times price over tokens, in text and JSON."""
    args = ["llama-8b", "--gpus", "2xH100", "--gpu-price", "2.5", "--backend", "vllm"]
    answer = planned(*args, home=tmp_path)
    cost = answer["cost"]["per_million_output_tokens"]
    tokens = answer["prediction"]["output_tokens_per_s"]["value"]
    split = answer["parallelism"]
    devices = split["tensor"] * split["pipeline"] * split["replicas"]
    assert cost["value"] == pytest.approx(devices * 2.5 / 3600 / tokens * 1e6)
    shown = tpdeploy("plan", *args, "--all", home=tmp_path).stdout
    assert f"${cost['value']:.2f} a million output tokens" in shown


@pytest.mark.slow
def test_the_frontier_is_shown_when_asked(tmp_path: Path) -> None:
    """`--pareto` adds a table over several loads, and its points to the JSON."""
    args = ["llama-8b", "--gpus", "2xH100", "--backend", "vllm"]
    assert "Pareto" not in tpdeploy("plan", *args, home=tmp_path).stdout
    shown = tpdeploy("plan", *args, "--pareto", home=tmp_path).stdout
    assert "Pareto" in shown
    assert "1 request in flight" in shown
    assert len(planned(*args, "--pareto", home=tmp_path)["pareto"]) > len(
        planned(*args, home=tmp_path)["pareto"]
    )


def test_data_parallel_attention_is_shown_written_and_launched(tmp_path: Path) -> None:
    """In the headline, the plan and vLLM's command; limits are said to be of each data rank."""
    args = ["mixtral-8x7b", "--gpus", "8xH100", "--tp", "2", "--data-parallel", "4"]
    result = tpdeploy("plan", *args, "--backend", "vllm", "--all", home=tmp_path)
    shown = " ".join(result.stdout.split())
    assert "attention DP 4 x TP 2 + EP x 1 replica" in shown
    assert "tokens per step of each data rank" in shown
    made = read_plan(tmp_path / "plan.yaml")
    assert (made.parallelism.tensor, made.parallelism.data, made.parallelism.expert) == (2, 4, 8)
    started = tpdeploy("launch", "--dry-run", home=tmp_path).stdout
    told = " ".join(started.replace("\\", " ").split())
    assert "--tensor-parallel-size 2" in told
    assert "--data-parallel-size 4 --enable-expert-parallel" in told


def test_a_plan_from_before_there_was_data_parallel_attention_is_read(tmp_path: Path) -> None:
    """Its splits have no `data`, which means one data rank."""
    tpdeploy("plan", "llama-8b", "--gpus", "1xH100", "--backend", "vllm", home=tmp_path)
    path = tmp_path / "plan.yaml"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(line for line in lines if line.split(":")[0].strip() != "data"))
    assert len(path.read_text().splitlines()) < len(lines)
    assert read_plan(path).parallelism.data == 1


def test_a_plan_that_calls_its_domain_an_island_is_read(tmp_path: Path) -> None:
    """As earlier plans do."""
    args = ["llama-8b", "--gpus", "4xA100-PCIe-80GB", "--tp", "2", "--backend", "vllm"]
    tpdeploy("plan", *args, home=tmp_path)
    path = tmp_path / "plan.yaml"
    domain = read_plan(path).cluster.domain
    earlier = path.read_text(encoding="utf-8").replace(" domain: ", " island: ")
    assert f" island: {domain}\n" in earlier
    path.write_text(earlier)
    assert read_plan(path).cluster.domain == domain


def test_a_smaller_step_reads_fewer_prompts_at_once(tmp_path: Path) -> None:
    """Clients in step wait for fewer of each other's prompts; the engine is told the bound."""
    load = ["llama-8b", "--gpus", "1xH100", "--concurrency", "16", "--backend", "vllm"]
    load += ["--length-spread", "0"]
    usual = planned(*load, home=tmp_path)
    small = planned(*load, "--max-num-batched-tokens", "2048", home=tmp_path)
    assert usual["limits"]["max_num_batched_tokens"] == 8192
    assert small["limits"]["max_num_batched_tokens"] == 2048
    assert small["prediction"]["ttft_ms"]["value"] < usual["prediction"]["ttft_ms"]["value"]
    words = refused("plan", *load, "--max-num-batched-tokens", "0", home=tmp_path)
    assert "--max-num-batched-tokens 0: must be greater than 0" in words


@pytest.mark.parametrize(
    ("engine", "told"),
    [
        (
            "vllm",
            ("--gpu-memory-utilization 0.8", "--max-num-seqs 40", "--enforce-eager"),
        ),
        (
            "tensorrt-llm",
            (
                "free_gpu_memory_fraction: 0.8",
                "--max_batch_size 40",
                "cuda_graph_config: null",
            ),
        ),
    ],
)
def test_what_launch_leaves_to_the_plan_can_be_planned(
    tmp_path: Path, engine: str, told: tuple[str, ...]
) -> None:
    """Memory, sequences and CUDA graphs are kept as stated, and the engine is told them."""
    args = ["llama-8b", "--gpus", "1xH100", "--backend", engine, "--memory-fraction", "0.8"]
    made = planned(*args, "--max-num-seqs", "40", "--enforce-eager", home=tmp_path)
    limits = made["limits"]
    assert (limits["memory_fraction"], limits["max_num_seqs"]) == (0.8, 40)
    assert limits["enforce_eager"]
    assert made["memory_per_gpu"]["graph_bytes"] == 0
    assert made["prediction"]["tpot_ms"]["source"].endswith("estimated (low confidence)")
    shown = tpdeploy("launch", "--dry-run", home=tmp_path).stdout
    assert [words for words in told if words not in shown] == []


def test_cached_prefixes_and_drafted_tokens_are_part_of_the_plan(tmp_path: Path) -> None:
    """They are kept in the workload, and stated with what was assumed."""
    args = ["llama-8b", "--gpus", "1xH100", "--prefix-cache-hit-rate", "0.5"]
    args += ["--speculative-tokens", "3", "--acceptance-rate", "0.8", "--backend", "vllm"]
    load = planned(*args, home=tmp_path)["workload"]
    assert load["prefix_hit_rate"] == 0.5
    assert load["speculation"] == {"tokens": 3, "acceptance": 0.8, "draft_cost": DRAFT_COST}
    shown = " ".join(tpdeploy("plan", *args, "--all", home=tmp_path).stdout.split())
    assert "50% of prompt tokens found in the prefix cache, 512 computed" in shown
    assert "2.95 tokens per step" in shown


def test_stages_over_machines_are_shown(tmp_path: Path) -> None:
    """405B in BF16 on two machines: the split, the fullest stage and each rank's machine."""
    args = ["llama-405b", "--gpus", "2x8xH100", "--tp", "8", "--backend", "vllm"]
    shown = tpdeploy("plan", *args, "--all", home=tmp_path).stdout
    assert "TP 8 x PP 2 x 1 replica" in shown
    assert "Memory per GPU, fullest stage" in shown
    (place,) = planned(*args, home=tmp_path)["placement"]
    assert place["nodes"] == [0] * 8 + [1] * 8


def test_an_overloaded_plan_says_so_first(tmp_path: Path) -> None:
    """How many requests wait is the first line and the first reason; times are in minutes."""
    args = ["Qwen/Qwen2.5-72B-Instruct-AWQ", "--gpus", "2x3090", "--tp", "2", "--backend", "vllm"]
    result = tpdeploy("plan", *args, home=tmp_path, width=120)
    first = result.stdout.splitlines()[0]
    assert first.startswith("3 of your 32 requests fit at once (KV cache): the others wait")
    assert re.search(
        r"TTFT\) +[\d.]+ min +p50, expected [\d.]+ (s|min) to [\d.]+ min", result.stdout
    )
    made = planned(*args, home=tmp_path)
    assert made["overload"] == made["reasons"][0]
    assert made["overload"].startswith(first.strip())
    assert made["prediction"]["ttft_ms"]["value"] > 100_000  # JSON keeps ms


def test_a_stated_number_of_sequences_is_named_as_what_holds_requests_up(tmp_path: Path) -> None:
    """Of several replicas together; a load that fits is no overload."""
    args = ["llama-8b", "--gpus", "2xH100", "--tp", "1", "--concurrency", "16"]
    assert planned(*args, home=tmp_path)["overload"] is None
    made = planned(*args, "--max-num-seqs", "4", home=tmp_path)
    assert made["overload"].startswith("8 of your 16 requests fit at once (4 sequences per step)")


def test_nothing_feasible_exits_with_3(tmp_path: Path) -> None:
    """A sound question without an answer shows every split and says what would help."""
    args = ["plan", "llama-405b", "--gpus", "2xL40S", "--backend", "vllm"]
    assert "does not run on 2xL40S" in refused(*args, home=tmp_path, code=3)
    assert "does not fit" in tpdeploy(*args, home=tmp_path).stdout
    answer = json.loads(tpdeploy(*args, "--json", home=tmp_path).stdout)
    assert answer["feasible"] is False
    splits = [(a["tensor"], a["pipeline"]) for a in answer["alternatives"]]
    assert splits == [(1, 1), (2, 1), (1, 2)]


def test_a_plan_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    """Writing into a folder that is a file is one clear line."""
    (tmp_path / "file").write_text("")
    args = ["plan", "llama-8b", "--gpus", "1xH100", "-o", str(tmp_path / "file" / "plan.yaml")]
    assert "cannot write" in refused(*args, home=tmp_path, code=1)


def test_an_edited_plan_is_refused_with_its_line(tmp_path: Path) -> None:
    """An unknown key and an impossible split are found in the file, by line."""
    tpdeploy("plan", "llama-8b", "--gpus", "2xH100", "--backend", "vllm", home=tmp_path)
    plan = tmp_path / "plan.yaml"
    text = plan.read_text()
    plan.write_text(text.replace("backend:", "bakend:"))
    with pytest.raises(InputError, match=r"plan\.yaml:\d+: .*unknown key; did you mean backend"):
        read_plan(plan)
    plan.write_text(text.replace("pipeline: 1", "pipeline: 5"))
    with pytest.raises(InputError, match="devices"):
        read_plan(plan)


def test_explain_draws_the_split(tmp_path: Path) -> None:
    """Column-parallel, row-parallel and all-reduces are drawn within 80 columns."""
    shown = tpdeploy("explain", "llama-70b", "--tp", "4", "--tokens", "8", home=tmp_path).stdout
    for words in ("column-parallel", "row-parallel", "all-reduce over 4 GPUs", "131,072 bytes"):
        assert words in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_explain_refuses_an_illegal_width(tmp_path: Path) -> None:
    """SmolLM2 has nine heads: two ranks cannot share them."""
    line = refused("explain", "smollm2", "--tp", "2", home=tmp_path)
    assert "legal widths for HuggingFaceTB/SmolLM2-135M-Instruct: 1, 3" in line


def test_one_token_has_no_further_ones(tmp_path: Path) -> None:
    """Answers of one token have no TPOT to compare splits by."""
    args = ["llama-8b", "--gpus", "2xH100", "--output-tokens", "1"]
    found = planned(*args, home=tmp_path)
    assert found["prediction"]["tpot_ms"]["value"] == 0
    assert "TPOT +0%" in found["alternatives"][0]["reason"]


@pytest.mark.slow
def test_a_large_change_is_a_factor(tmp_path: Path) -> None:
    """What is more than three times as much is not told in percent."""
    asked = ("llama-70b", "--gpus", "8xH100", "--concurrency", "1024", "--optimize", "latency")
    shown = tpdeploy("plan", *asked, "--backend", "vllm", "--all", home=tmp_path, width=200).stdout
    assert re.search(r"\d times the TTFT", shown)
    assert all(int(percent) <= 200 for percent in re.findall(r"\+(\d+)%", shown))


@pytest.mark.slow
def test_a_split_that_misses_a_target_on_fewer_gpus_says_fewer(tmp_path: Path) -> None:
    """Of an open count, what others need is more or fewer, never a negative number more."""
    asked = ("llama-70b", "--gpus", "H100", "--concurrency", "1024", "--tpot", "40")
    shown = tpdeploy("plan", *asked, "--backend", "vllm", "--all", home=tmp_path, width=200).stdout
    assert re.search(r"\d fewer GPUs, TPOT", shown)
    assert "-" not in "".join(re.findall(r"\S+ more GPU", shown))


@pytest.mark.slow
def test_a_plan_of_a_known_model_loads_nothing_that_connects(tmp_path: Path) -> None:
    """Certificates, clients and fits take longer to import than a plan to make."""
    argv = ["tpdeploy", "plan", "llama-8b", "--gpus", "1xH100", "-o", str(tmp_path / "plan.yaml")]
    program = (
        f"import sys; sys.argv = {argv}\nfrom tpdeploy.cli.main import main\n"
        "try: main()\nexcept SystemExit as end: assert not end.code\n"
        "print({'ssl', 'httpx', 'scipy', 'aiohttp'} & set(sys.modules))"
    )
    environment = {**os.environ, "TPDEPLOY_HOME": str(tmp_path)}
    argv = [sys.executable, "-c", program]
    ran = subprocess.run(argv, capture_output=True, check=False, text=True, env=environment)
    assert ran.stdout.endswith("set()\n"), ran.stdout + ran.stderr
