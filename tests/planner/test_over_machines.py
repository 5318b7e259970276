"""Layers divided over machines: over NVLink in a rack, over a network where that can win."""

from dataclasses import replace

import pytest

from tests.planner.inputs import VLLM, ask
from tpdeploy.backends.deepspeed_mii import DeepSpeedMiiBackend
from tpdeploy.backends.rules import rules_on
from tpdeploy.errors import InputError
from tpdeploy.planner.performance.collectives import all_reduce, expert_dispatch
from tpdeploy.planner.search.evaluation import Prepared
from tpdeploy.planner.search.fleet import fewest_devices
from tpdeploy.planner.search.layouts import splits
from tpdeploy.planner.search.search import plan, prepare_all, search
from tpdeploy.planner.workload import Workload
from tpdeploy.profiles.devices.catalog import find_accelerator
from tpdeploy.profiles.machine.gpus_spec import parse_gpus

DATA_PARALLEL = replace(VLLM, data_parallel=True)
# Decode tokens/s of gpt-oss-120b with vLLM by requests in flight, 1,024 tokens in and 128 out: on
# one DGX Spark, and with TP 2 on two (kubis.ai, "GPT-OSS-120B: Topology Benchmark on DGX Spark").
SPARK = {1: (57.5, 69.0), 4: (107.9, 155.3), 16: (218.5, 342.1), 32: (318.7, 471.7)}


def test_trays_of_a_rack_share_a_layer() -> None:
    """llama-405b, too large for the four GPUs of a tray, takes two trays and no stages."""
    inputs = ask("llama-405b", "2x4xGB200")
    found = plan(inputs, search(inputs))
    assert (found.parallelism.tensor, found.parallelism.pipeline) == (8, 1)
    assert found.answer.startswith("Use one group of all 8 GPUs over 2 machines: tensor parallel")
    assert found.placement[0].machines == (0, 1)
    assert not any("over infiniband" in reason for reason in found.why)


def test_a_rack_is_planned_in_whole_trays() -> None:
    """Beyond a tray, groups are multiples of its four GPUs that divide the heads, up to 72."""
    widths = {s.tensor for s in splits(ask("llama-405b", "GB200-NVL72"))}
    assert widths == {1, 2, 3, 4, 8, 16, 32, 64}


def test_collectives_over_trays_are_those_that_were_measured_there() -> None:
    """The engine's curve for 16 GPUs, not NCCL's for the four of a tray drawn out to 16."""
    rack = parse_gpus("GB200-NVL72")
    sixteen = all_reduce(rack, 16, ("vllm-graph",))
    assert "nccl" not in sixteen.source
    assert sixteen.seconds(1 << 20) == pytest.approx(52e-6, rel=0.05)
    assert all_reduce(rack, 32, ("vllm-graph",)).seconds(1 << 20) >= sixteen.seconds(1 << 20)
    inside = all_reduce(rack, 4, ("vllm-graph",))
    assert inside.seconds(1 << 20) < sixteen.seconds(1 << 20)
    assert expert_dispatch(rack, 64, ("tensorrt-llm",)).operation == "expert-dispatch"


def test_a_group_that_the_kernels_are_not_built_for_is_reduced_by_nccl() -> None:
    """There is a kernel for 8 and 16 GPUs, none for 12."""
    rack = parse_gpus("GB200-NVL72")
    twelve = all_reduce(rack, 12, ("tensorrt-llm",)).seconds(1 << 16)
    assert twelve > 2 * all_reduce(rack, 16, ("tensorrt-llm",)).seconds(1 << 16)


@pytest.mark.parametrize("gpus", ["2x8xH100", "4x4xA100", "2x8xL40S"])
def test_no_layer_waits_for_an_ordinary_network_unasked(gpus: str) -> None:
    """Wide machines keep groups to themselves, and the plan says what tries another."""
    inputs = ask("llama-70b", gpus)
    assert max(s.tensor for s in splits(inputs)) == inputs.cluster.per_machine
    found = plan(inputs, search(inputs))
    assert any("--tp" in each and "was tried" in each for each in found.reasons)


def test_a_group_over_a_network_is_planned_when_asked_for() -> None:
    """With what its layers wait for; it is far behind two groups of eight."""
    inputs = ask("llama-70b", "2x8xH100", tensor=16)
    found = plan(inputs, search(inputs))
    assert found.placement[0].machines == (0, 1)
    assert "over 2 machines" in found.answer
    assert "are communication, over infiniband-ndr" in found.why[0]
    usual = ask("llama-70b", "2x8xH100")
    best = plan(usual, search(usual)).prediction.output_tokens_per_s.value
    assert found.prediction.output_tokens_per_s.value < 0.7 * best


def test_machines_with_one_gpu_are_compared_in_all_three_ways() -> None:
    """A group over both, stages, and replicas if one holds the model."""
    large = search(ask("llama-70b", "2x1xH100"))
    assert {c.parallelism.words for c in large.ranked} == {"TP 2", "TP 1 x PP 2"}
    small = search(ask("llama-8b", "2x1xH100"))
    assert {c.parallelism.words for c in small.ranked} == {"TP 1", "TP 2"}


def test_a_network_that_was_measured_may_be_waited_for() -> None:
    """Then groups over it are compared with the others, on wide machines, too."""
    inputs = ask("llama-70b", "2x8xH100")
    cluster = inputs.cluster
    assert cluster.network is not None
    own = cluster.model_copy(
        update={"network": cluster.network.model_copy(update={"name": "ours"})}
    )
    assert {s.tensor for s in splits(replace(inputs, cluster=own))} == {*range(1, 9), 16}


def test_the_fewest_machines_of_one_gpu_share_each_layer() -> None:
    """llama-70b takes two DGX Spark; stages on them would take longer."""
    fleet = fewest_devices(ask("llama-70b", "DGX-Spark", workload=Workload(concurrency=2)))
    best = fleet.outcome.best
    assert best is not None
    assert (best.parallelism.words, fleet.inputs.cluster.machines) == ("TP 2", 2)


@pytest.mark.parametrize("requests", sorted(SPARK))
def test_two_sparks_gain_about_what_was_measured(requests: int) -> None:
    """By TP 2 over their network: TPOT falls by at most a quarter more or less than it did."""
    load = Workload(input_tokens=1024, output_tokens=128, concurrency=requests)
    tpots = [
        plan(inputs, search(inputs)).prediction.tpot_ms.value
        for inputs in (
            ask("gpt-oss-120b", "DGX-Spark", workload=load),
            ask("gpt-oss-120b", "2xDGX-Spark", workload=load, tensor=2, expert_parallel=False),
        )
    ]
    one, two = SPARK[requests]
    assert tpots[0] / tpots[1] == pytest.approx(two / one, rel=0.25)


def test_data_ranks_go_over_a_network_only_where_nothing_else_fits() -> None:
    """deepseek-r1: on H200 each machine holds it, on H100 two machines have to."""

    def widest(gpus: str) -> int:
        inputs = ask("deepseek-r1", gpus, engine=DATA_PARALLEL)
        fitting = [p for p in prepare_all(inputs, splits(inputs)) if isinstance(p, Prepared)]
        return max(p.parallelism.stage_ranks for p in fitting)

    assert [widest(gpus) for gpus in ("2x8xH200", "2x8xH100")] == [8, 16]


def test_data_ranks_over_machines_are_planned_when_asked_for() -> None:
    """As many on each machine, and no group of tensor ranks torn apart."""
    inputs = ask("deepseek-r1", "2x8xH200", data=16, engine=DATA_PARALLEL)
    found = plan(inputs, search(inputs))
    assert found.parallelism.words == "attention DP 16 + EP"
    assert found.placement[0].nodes == (0,) * 8 + (1,) * 8
    with pytest.raises(InputError, match="--tp 4 --dp 3: 16 devices"):
        search(ask("deepseek-r1", "2x8xH200", tensor=4, data=3, engine=DATA_PARALLEL))


@pytest.mark.parametrize(
    ("gpus", "tensor", "words"),
    [
        ("2x8xH100", 9, "make no such groups; what works: --tp up to 8, or as many on each of"),
        ("2x8xH100", 32, "are too few; what works: --tp up to 8, or as many on each of several"),
        ("8xH100", 16, r"are too few; what works: --tp up to 8$"),
        ("4x1xH100", 8, r"are too few; what works: --tp up to 4$"),
    ],
)
def test_groups_that_cannot_be_are_refused(gpus: str, tensor: int, words: str) -> None:
    """With what works instead."""
    with pytest.raises(InputError, match=words):
        search(ask("llama-70b", gpus, tensor=tensor))


def test_an_engine_for_one_machine_is_refused_more() -> None:
    """DeepSpeed-MII joins no machines."""
    engine = rules_on(DeepSpeedMiiBackend(), find_accelerator("H100"))
    with pytest.raises(InputError, match=r"make no such groups; what works: --tp up to 8$"):
        search(ask("llama-70b", "2x8xH100", tensor=16, engine=engine))
    assert {s.tensor for s in splits(ask("llama-8b", "4x1xH100", engine=engine))} == {1}
