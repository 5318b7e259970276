"""`tpdeploy calibrate --on` as a user meets it; ssh is a program that stays on this machine."""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.cli.commands import answered, refused, tpdeploy
from tests.launcher import standin_network
from tpdeploy.profiles.devices.networks import MeasuredNetwork
from tpdeploy.profiles.machine.gpus_spec import parse_gpus

SSH = """\
#!/bin/sh
case "$*" in
    *" -G "*) echo "hostname 192.0.2.7" ;;
    *) exec env --default-signal=TERM bash -s ;;  # sshd's children do not ignore what ssh does
esac
"""
PLAN = ("plan", "llama-70b", "--gpus", "2x8xH100", "--pp", "2")


class Measured(NamedTuple):
    """What the command wrote, and the file that it left."""

    shown: str
    file: Path


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TPDEPLOY_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that prints figures instead of measuring, and programs of machines with GPUs."""
    folder = tmp_path_factory.mktemp("bin")
    texts = {
        "ssh": SSH,
        "nvidia-smi": "#!/bin/sh\nprintf '%s\\n' 1 2 3 4 5 6 7 8\n",
        "python": f'#!/bin/sh\nexec {sys.executable} {standin_network.__file__} "$@"\n',
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


def path_with(programs: Path) -> str:
    return f"{programs}{os.pathsep}{os.environ['PATH']}"


@pytest.fixture
def python(programs: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("PATH", path_with(programs))
    return str(programs / "python")


@pytest.fixture(scope="module")
def measured(programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Measured:
    """Measured once for all who look at it."""
    there = tmp_path_factory.mktemp("measured")
    asked = arguments(str(programs / "python"))
    result = tpdeploy(*asked, home=there, width=160, PATH=path_with(programs))
    assert result.returncode == 0, result.stderr
    return Measured(result.stdout, there / "networks" / "lab.json")


@pytest.fixture
def kept(measured: Measured, home: Path) -> Path:
    """The measured network, at home."""
    networks = home / "networks"
    networks.mkdir(parents=True)
    return Path(shutil.copy(measured.file, networks))


def arguments(python: str, *args: str) -> tuple[str, ...]:
    machines = ("--on", "ssh:a,b", "--gpus", "8xH100", "--network-name", "lab")
    return ("calibrate", "--backend", "vllm", "--python", python, *machines, *args)


@pytest.mark.processes
def test_figures_the_link_and_the_next_command_are_shown(measured: Measured) -> None:
    """A row a figure; who was measured, with what; where it is kept."""
    shown = measured.shown
    assert "on 2 machines (a, b), nccl: 8 x Test GPU each, vllm 1.2.3" in shown
    assert "2 ranks on 2 machines, 8 groups at once" in shown
    assert "16 ranks on 2 machines" in shown
    assert "Link: 20.0 us a hop, 10.00 GB/s, one adapter a gpu" in shown
    assert f"Kept: {measured.file}" in shown
    assert "tpdeploy plan --network lab" in shown


@pytest.mark.processes
def test_json_is_the_record_that_is_kept(python: str, home: Path) -> None:
    """With every figure, the hosts, and what ran there."""
    found = MeasuredNetwork.model_validate_json(answered(*arguments(python, "--json")))
    assert found == MeasuredNetwork.model_validate_json((home / "networks/lab.json").read_text())
    assert (found.runtime, found.device, found.devices_each) == ("ssh", "H100-SXM-80GB", 8)
    assert found.hosts == ("a", "b")
    assert len(found.samples) == 3 * 10


@pytest.mark.processes
def test_plans_take_it_when_asked_and_say_so(kept: Path) -> None:
    """In the prediction's source and among the assumptions."""
    bundled = json.loads(answered(*PLAN, "--json"))
    plan = json.loads(answered(*PLAN, "--network", kept.stem, "--json"))
    told = "lab measured by tpdeploy calibrate --on ssh"
    assert f"network {told}" in plan["prediction"]["tpot_ms"]["source"]
    assert plan["cluster"]["network"] == "lab"
    assert "measured by tpdeploy calibrate" in plan["cluster"]["assumptions"][-1]
    assert plan["prediction"]["ttft_ms"]["value"] != bundled["prediction"]["ttft_ms"]["value"]


@pytest.mark.processes
@pytest.mark.usefixtures("kept")
def test_it_is_offered_between_machines_of_its_kind_alone() -> None:
    """It is not taken unasked: a plan may be for others."""
    usual = parse_gpus("2x8xH100")
    assert usual.network is not None
    assert usual.network.name == "infiniband-ndr"
    assert usual.assumptions[-1].endswith(" Measured between such machines: --network lab.")
    assert "lab" not in parse_gpus("2x8xA100").assumptions[-1]


@pytest.mark.processes
def test_a_broken_environment_is_one_line(
    python: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason, what helps, and the log; nothing is kept."""
    monkeypatch.setenv("TPDEPLOY_TEST_FAIL", "1")
    line = refused(*arguments(python), code=1)
    assert line.startswith("Error: measuring failed: ModuleNotFoundError: No module named 'torch'")
    assert "the engine is not installed on every machine: tpdeploy backends install" in line
    assert not list((home / "networks").glob("*.json"))


@pytest.mark.processes
def test_half_of_the_figures_are_kept_by_nobody(
    python: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that ends without saying that it is done has failed."""
    monkeypatch.setenv("TPDEPLOY_TEST_SHORT", "1")
    assert "measuring failed: " in refused(*arguments(python), code=1)
    assert not list((home / "networks").glob("*.json"))


def test_a_kept_file_that_is_broken_names_the_remedy(home: Path) -> None:
    """To whoever asks for it; other plans do not mind."""
    (home / "networks").mkdir(parents=True)
    (home / "networks" / "lab.json").write_text("{}")
    assert "measure again: tpdeploy calibrate --on" in refused(*PLAN, "--network", "lab")
    assert parse_gpus("2x8xH100").network


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--network-name", "infiniband-ndr"), "a bundled network is called so; choose another"),
        (("--network-name", "Bad/name"), "use up to 60 small letters, digits"),
        (("--gpus", "auto"), "--on: say what each machine has: --gpus 8xH100, or --gpus CPU"),
        (("--gpus", "2xCPU"), "--gpus 2xCPU with --on: one rank on each machine: --gpus CPU"),
        (("--gpus", "2x8xH100", "--nodes", "3"), "--nodes 3: --gpus says 2 machines"),
        (("--gpus", "9xH100"), "joins 8"),
        (("--nodes", "3"), "--on ssh:a,b: 3 machines are asked for, name each host"),
        (("--on", "ssh:a"), "--on ssh:a: one machine; name two or more to measure between"),
        (("--on", "local"), "--on local: machines are reached by slurm or ssh:HOST,HOST"),
        (("--gpus", "8xGaudi3"), "--on: measured between cuda, rocm, cpu, not gaudi"),
        (("--backend", "tensorrt-llm"), "joins machines by MPI; measure with --backend vllm"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    python: str, home: Path, args: tuple[str, ...], words: str
) -> None:
    """One line, exit code 2, nothing started."""
    assert words in refused(*arguments(python), *args)
    assert not home.exists()


def test_options_of_several_machines_need_them() -> None:
    """They are not taken for those of this machine."""
    assert "are for --on slurm" in refused("calibrate", "--nodes", "2")
