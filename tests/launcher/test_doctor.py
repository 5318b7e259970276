"""Each check sees what is wrong, says so, and names what helps."""

import resource
import shutil
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from tests.launcher import standin_nvml
from tests.launcher.downloads import seem_downloaded
from tests.launcher.plans import plan_for
from tests.profiles.standin_hub import serving
from tpdeploy.backends.registry import load_backend
from tpdeploy.errors import InputError, TpdeployError
from tpdeploy.files import write_whole
from tpdeploy.launcher import state
from tpdeploy.launcher.doctor import devices, engine, limits, memory, storage, topology
from tpdeploy.launcher.doctor.case import Case
from tpdeploy.launcher.doctor.checks import Check, before_launch, examine
from tpdeploy.launcher.doctor.finding import Finding, Verdict
from tpdeploy.launcher.runtimes.base import Engine
from tpdeploy.launcher.runtimes.member import Member
from tpdeploy.launcher.runtimes.ports import free_ports
from tpdeploy.launcher.runtimes.processes import this_process
from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.records import dump_record

GIB = 2**30


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two H100, a home and a cache of the hub of their own."""
    monkeypatch.setitem(sys.modules, "pynvml", standin_nvml)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("TPDEPLOY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def case(plan: DeploymentPlan | None = None, **how: object) -> Case:
    platform = plan.cluster.platform if plan else "cuda"
    return Case(Engine(load_backend("vllm"), platform), plan, **how)  # type: ignore[arg-type]


def only(check: Callable[[Case], Iterator[Finding]], at: Case) -> Finding:
    (finding,) = check(at)
    return finding


def verdict(check: Callable[[Case], Iterator[Finding]], at: Case) -> Verdict:
    return only(check, at).verdict


@pytest.fixture(scope="module")
def two_gpus() -> DeploymentPlan:
    """TP 2 on both."""
    return plan_for("2xH100", tensor=2)


@pytest.fixture(scope="module")
def cpu() -> DeploymentPlan:
    return plan_for("1xCPU", model="smollm2")


def deployed(plan: DeploymentPlan, name: str = "other") -> None:
    """A running deployment of `plan`, supervised by this process."""
    members = [Member(label="replica-0", port=1, devices=plan.placement[0].devices)]
    state.save(
        state.Deployment(
            name=name,
            model=plan.model.id,
            backend="vllm",
            url="http://127.0.0.1:1",
            phase="ready",
            started_at=datetime.now(UTC),
            supervisor=this_process(),
            members=tuple(members),
        )
    )
    write_whole(state.folder_of(name) / "plan.yaml", dump_record(plan))


def test_the_driver_is_told(monkeypatch: pytest.MonkeyPatch, cpu: DeploymentPlan) -> None:
    """Its version and the CUDA it runs; that none answers is a fail, on a CPU none is needed."""
    assert only(devices.driver, case()).seen == "NVIDIA 570.124.06, for CUDA up to 12.8"
    assert verdict(devices.driver, case(cpu)) == "ok"

    def refuse() -> None:
        raise standin_nvml.NVMLError

    monkeypatch.setattr(standin_nvml, "nvmlInit", refuse)
    assert verdict(devices.driver, case()) == "fail"


def test_more_gpus_than_there_are_fail(two_gpus: DeploymentPlan) -> None:
    """Both counts are named."""
    assert verdict(devices.present, case(two_gpus)) == "ok"
    finding = only(devices.present, case(plan_for("4xH100", tensor=4)))
    assert finding.verdict == "fail"
    assert "the plan uses 4 GPUs, this machine shows 2" in finding.seen


def test_other_gpus_than_planned_are_told(
    monkeypatch: pytest.MonkeyPatch, two_gpus: DeploymentPlan
) -> None:
    """They may well run it, but not as fast as predicted."""
    monkeypatch.setattr(standin_nvml, "NAME", "NVIDIA A100-SXM4-80GB")
    finding = only(devices.present, case(two_gpus))
    assert finding.verdict == "warning"
    assert "the plan is for H100-SXM-80GB, this machine has A100-SXM-80GB" in finding.seen


def test_gpus_of_a_running_deployment_fail(two_gpus: DeploymentPlan) -> None:
    """Its name is told, and the command that ends it."""
    assert verdict(devices.taken, case(two_gpus)) == "ok"
    deployed(two_gpus)
    finding = only(devices.taken, case(two_gpus))
    assert (finding.verdict, finding.remedy) == ("fail", "tpdeploy stop --name other")
    assert "GPU(s) 0, 1 belong to the running deployment other" in finding.seen


def test_other_gpus_are_free(two_gpus: DeploymentPlan) -> None:
    """A deployment on one GPU leaves the other, and the CPU, to others."""
    deployed(plan_for("1xH100"))
    one = two_gpus.placement[0].model_copy(update={"devices": (1,)})
    second = two_gpus.model_copy(update={"placement": (one,)})
    assert verdict(devices.taken, case(second)) == "ok"


def test_cores_of_a_running_deployment_are_a_warning(cpu: DeploymentPlan) -> None:
    """They can be shared, if slowly."""
    deployed(cpu)
    finding = only(devices.taken, case(cpu))
    assert finding.verdict == "warning"
    assert "both will be slow" in finding.seen


def test_others_on_a_gpu_are_named(
    monkeypatch: pytest.MonkeyPatch, two_gpus: DeploymentPlan
) -> None:
    """By process, number and memory; processes of our own deployments are told as such."""
    assert verdict(devices.processes, case(two_gpus)) == "ok"
    mine = psutil.Process()
    stranger = SimpleNamespace(pid=mine.pid, usedGpuMemory=30 * GIB)
    monkeypatch.setattr(standin_nvml, "PROCESSES", [stranger])
    finding = only(devices.processes, case(two_gpus))
    assert finding.verdict == "warning"
    assert finding.seen == f"{mine.name()} ({mine.pid}) computes on GPU 0 with 30.0 GiB"


def test_a_gpu_without_room_fails(
    monkeypatch: pytest.MonkeyPatch, two_gpus: DeploymentPlan
) -> None:
    """vLLM does not start where less is free than its share of all memory."""
    assert verdict(memory.free_memory, case(two_gpus)) == "ok"
    monkeypatch.setattr(standin_nvml, "USED_BYTES", [600 << 20, 20 * GIB])
    finding = only(memory.free_memory, case(two_gpus))
    assert finding.verdict == "fail"
    assert finding.seen.startswith("GPU 1 has 59.6 GiB free, the plan needs ")
    assert "--memory-fraction" in finding.remedy


def test_an_engine_that_takes_what_is_left_starts_all_the_same(
    monkeypatch: pytest.MonkeyPatch, two_gpus: DeploymentPlan
) -> None:
    """Its KV cache becomes smaller than planned, down to none."""
    monkeypatch.setattr(standin_nvml, "USED_BYTES", [20 * GIB, 600 << 20])
    at = Case(Engine(load_backend("tensorrt-llm"), "cuda"), two_gpus)
    assert verdict(memory.free_memory, at) == "warning"
    monkeypatch.setattr(standin_nvml, "USED_BYTES", [75 * GIB, 600 << 20])
    assert verdict(memory.free_memory, Case(at.engine, two_gpus)) == "fail"


@pytest.mark.parametrize(
    ("free", "expected"), [(100 * GIB, "ok"), (3 * GIB, "warning"), (GIB, "fail")]
)
def test_memory_of_a_cpu_is_the_machines(
    monkeypatch: pytest.MonkeyPatch, cpu: DeploymentPlan, free: int, expected: str
) -> None:
    """Weights and KV cache have to fit; with less than planned beside them it may still start."""
    monkeypatch.setattr(memory, "free_memory_bytes", lambda: free)
    assert verdict(memory.free_memory, case(cpu)) == expected


def test_links_that_are_not_there_are_told(
    monkeypatch: pytest.MonkeyPatch, two_gpus: DeploymentPlan
) -> None:
    """The plan counts on NVLink, and it is down."""
    assert verdict(topology.fabric, case(two_gpus)) == "ok"
    monkeypatch.setattr(standin_nvml, "NVLINK_UP", False)
    finding = only(topology.fabric, case(two_gpus))
    assert finding.verdict == "warning"
    assert "counts on nvswitch-gen4, the driver shows pcie-gen5. NVLink is down" in finding.seen


@pytest.mark.parametrize(
    ("options", "iommus", "hint"),
    [("quiet", ["dmar0"], "iommu=pt"), ("quiet iommu=pt", ["dmar0"], "ACS"), ("", [], "ACS")],
)
def test_gpus_without_peer_access_get_a_hint(
    monkeypatch: pytest.MonkeyPatch,
    two_gpus: DeploymentPlan,
    tmp_path: Path,
    options: str,
    iommus: list[str],
    hint: str,
) -> None:
    """An IOMMU that translates is the first thing to look at, ACS the next."""
    assert verdict(topology.peers, case(two_gpus)) == "ok"
    monkeypatch.setattr(standin_nvml, "READS_PEERS", False)
    (tmp_path / "cmdline").write_text(options)
    for name in iommus:
        (tmp_path / "iommu" / name).mkdir(parents=True)
    monkeypatch.setattr(topology, "COMMAND_LINE", tmp_path / "cmdline")
    monkeypatch.setattr(topology, "IOMMUS", tmp_path / "iommu")
    finding = only(topology.peers, case(two_gpus))
    assert finding.verdict == "warning"
    assert "(chipset not supported)" in finding.seen
    assert hint in finding.remedy.partition("; or")[0]


def test_a_rank_on_two_sockets_is_told(
    monkeypatch: pytest.MonkeyPatch, cpu: DeploymentPlan
) -> None:
    """Its cores read the memory of the other one slower."""
    assert verdict(topology.sockets, case(cpu)) == "ok"
    place = cpu.placement[0].model_copy(update={"cpus": ("0-3",)})
    monkeypatch.setattr(topology, "numa_nodes", lambda: [[0, 1], [2, 3]])
    torn = cpu.model_copy(update={"placement": (place,)})
    assert verdict(topology.sockets, case(torn)) == "warning"


def test_a_missing_engine_fails_with_its_install_command(two_gpus: DeploymentPlan) -> None:
    """For the platform of the plan."""
    finding = only(engine.installed, case(two_gpus))
    assert finding.verdict == "fail"
    assert finding.remedy == "tpdeploy backends install vllm --platform cuda"


def test_builds_that_do_not_run_on_the_gpus_fail_unless_another_is_named() -> None:
    """Published ones of vLLM lack V100; whoever names a build is taken to have one that does."""
    on_v100 = plan_for("2xV100-SXM2-32GB", tensor=2)
    published, *_ = engine.installed(case(on_v100))
    assert (published.verdict, published.remedy) == (
        "fail",
        "name a build of your own: --executable PATH",
    )
    own = Case(Engine(load_backend("vllm"), "cuda", executable=Path(sys.executable)), on_v100)
    assert all("builds of" not in finding.seen for finding in engine.installed(own))


@pytest.mark.parametrize(("version", "expected"), [("0.26.1", "fail"), ("0.33.0", "ok")])
def test_a_release_without_what_the_width_needs_fails(
    tmp_path: Path, version: str, expected: str
) -> None:
    """TP 8 of Qwen3's FP8 experts cuts their scales, which vLLM can since 0.32."""
    info = tmp_path / "lib" / "python3.11" / "site-packages" / f"vllm-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n")
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.symlink_to(sys.executable)
    plan = plan_for("8xH100", tensor=8, model="Qwen/Qwen3-30B-A3B-FP8")
    at = Case(Engine(load_backend("vllm"), "cuda", python=python), plan)
    finding = only(engine.installed, at)
    assert finding.verdict == expected
    assert version in finding.seen


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ((20_000, 20_000), "ok"),
        ((1024, 2**20), "ok"),
        ((1024, 4096), "warning"),
        ((64, 64), "fail"),
    ],
)
def test_open_files_are_those_that_an_engine_will_have(
    monkeypatch: pytest.MonkeyPatch, limit: tuple[int, int], expected: str
) -> None:
    """vLLM raises a soft limit to 65,535 where the hard one allows it, and not at all elsewhere."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: limit)
    assert verdict(limits.open_files, case()) == expected


def test_each_request_is_two_open_files(cpu: DeploymentPlan) -> None:
    """The front has a connection to the client and one to the replica."""
    requests = limits.requests_in_flight(cpu)
    assert requests == cpu.limits.max_num_seqs
    assert limits.files_needed(100, requests) == 100 + 2 * requests


def test_little_shared_memory_is_told(
    monkeypatch: pytest.MonkeyPatch, two_gpus: DeploymentPlan, cpu: DeploymentPlan
) -> None:
    """Docker gives 64 MiB by default; a single rank needs none."""
    small = SimpleNamespace(total=64 << 20, free=64 << 20)
    monkeypatch.setattr(psutil, "disk_usage", lambda _: small)
    finding = only(limits.shared_memory, case(two_gpus))
    assert finding.verdict == "warning"
    assert "--shm-size=8g" in finding.remedy
    assert list(limits.shared_memory(case(cpu))) == []


def test_locked_memory_counts_where_there_is_infiniband(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Elsewhere nothing is registered with an adapter."""
    monkeypatch.setattr(limits, "INFINIBAND", tmp_path / "infiniband")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (65536, 65536))
    assert list(limits.locked_memory(case())) == []
    (tmp_path / "infiniband" / "mlx5_0").mkdir(parents=True)
    assert verdict(limits.locked_memory, case()) == "warning"
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY,) * 2)
    assert verdict(limits.locked_memory, case()) == "ok"


def test_a_port_that_is_taken_fails() -> None:
    """The one that was asked for; otherwise the next free one is told."""
    (port,) = free_ports("127.0.0.1", 1)
    assert verdict(limits.port, case(port=port)) == "ok"
    assert verdict(limits.port, case(port=70_000)) == "fail"
    assert verdict(limits.port, case()) == "ok"


def test_weights_that_are_here_are_not_asked_for(two_gpus: DeploymentPlan, tmp_path: Path) -> None:
    """Neither the disk nor the hub is looked at."""
    seem_downloaded(tmp_path / "hf", two_gpus.model.id)
    assert verdict(storage.weights, case(two_gpus)) == "ok"
    assert list(storage.download(case(two_gpus))) == []
    assert list(storage.hub(case(two_gpus))) == []


@pytest.mark.parametrize(("room", "expected"), [(20 * 10**9, "ok"), (10**9, "fail")])
def test_a_disk_without_room_for_the_weights_fails(
    monkeypatch: pytest.MonkeyPatch, two_gpus: DeploymentPlan, room: int, expected: str
) -> None:
    """8 billion parameters of 2 bytes."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=room))
    finding = only(storage.download, case(two_gpus))
    assert finding.verdict == expected
    assert "about 16.1 GB of meta-llama/Llama-3.1-8B-Instruct" in finding.seen


def test_the_bytes_to_download_are_those_of_the_hub(
    monkeypatch: pytest.MonkeyPatch, two_gpus: DeploymentPlan
) -> None:
    """To the file, where it tells; without `about`."""
    model = two_gpus.model.id
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    with serving() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        files = [{"rfilename": "model.safetensors", "size": 5 * 10**6}]
        hub.answer(f"/api/models/{model}?blobs=true", 200, {"siblings": files})
        hub.answer(f"/{model}/resolve/main/config.json", 403, kind="GatedRepo")
        assert only(storage.download, case(two_gpus)).seen.startswith("0.0 GB of meta-llama")
        finding = only(storage.hub, case(two_gpus))
    assert "it is gated, and no token was sent" in finding.seen
    assert finding.remedy.startswith("accept its terms at https://huggingface.co/meta-llama/")


def test_made_up_weights_are_not_looked_for(two_gpus: DeploymentPlan) -> None:
    """An engine with --load-format=dummy needs none."""
    at = case(two_gpus, loads_weights=False)
    assert not [*storage.weights(at), *storage.download(at), *storage.hub(at)]


def test_a_hub_that_may_not_be_asked_fails(two_gpus: DeploymentPlan) -> None:
    """The engine could not download the model either."""
    finding = only(storage.hub, case(two_gpus))
    assert finding.verdict == "fail"
    assert "HF_HUB_OFFLINE" in finding.seen


def test_a_model_folder_without_weights_fails(two_gpus: DeploymentPlan, tmp_path: Path) -> None:
    """A config alone is enough to plan, not to serve."""
    model = two_gpus.model.model_copy(update={"path": str(tmp_path)})
    at = case(two_gpus.model_copy(update={"model": model}))
    assert verdict(storage.weights, at) == "fail"
    (tmp_path / "model.safetensors").write_bytes(b"x")
    assert verdict(storage.weights, at) == "ok"


@pytest.mark.parametrize(
    ("room", "expected"), [(10**10, "ok"), (10**8, "warning"), (10**6, "fail")]
)
def test_room_for_logs(monkeypatch: pytest.MonkeyPatch, room: int, expected: str) -> None:
    """Little is told before it is gone."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=room))
    assert verdict(storage.room, case()) == expected


def test_a_check_that_breaks_stops_no_other() -> None:
    """It is told, and the rest goes on."""

    def breaks(_: Case) -> Iterator[Finding]:
        raise TpdeployError("the driver failed")

    first, second = examine(case(), [Check("one", breaks), Check("port", limits.port)])
    assert (first.check, first.verdict) == ("one", "warning")
    assert "the driver failed" in first.seen
    assert second.check == "port"


def test_a_launch_that_cannot_start_is_refused(
    monkeypatch: pytest.MonkeyPatch, two_gpus: DeploymentPlan
) -> None:
    """One line with what helps; who insists gets it as a warning, as is what stops nothing."""
    monkeypatch.setattr(standin_nvml, "USED_BYTES", [20 * GIB, 20 * GIB])
    with pytest.raises(InputError) as caught:
        before_launch(case(two_gpus), insist=False)
    words = str(caught.value)
    assert "GPU 0 has 59.6 GiB free" in words
    assert "GPU 1 has 59.6 GiB free" in words
    assert words.endswith("(--force launches all the same)")
    assert "hub: meta-llama/Llama-3.1-8B-Instruct is not on this machine" in words
    told = before_launch(case(two_gpus), insist=True)
    failed = {finding.check for finding in told if finding.verdict == "fail"}
    assert {"memory", "engine", "hub"} <= failed
