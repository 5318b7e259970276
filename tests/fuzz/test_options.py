"""The command line, whatever is typed."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.mutants import words
from tests.fuzz.promise import fuzzed, kept, ran
from tpdeploy.profiles.machine.gpus_spec import parse_gpus

pytestmark = pytest.mark.slow

PLAN = ("plan", "smollm2-135m", "--gpus", "1xH100", "--backend", "vllm", "--json")
PLANNED = (
    *("input-tokens", "output-tokens", "concurrency", "rate", "ttft", "tpot", "dtype", "tp", "pp"),
    *("prefix-cache-hit-rate", "speculative-tokens", "acceptance-rate", "draft-cost", "gpu-price"),
    *("quantization", "kv-cache-dtype", "max-model-len", "max-num-batched-tokens", "replicas"),
    *("interconnect", "network", "backend", "optimize", "gpus"),
)
OTHERS = (
    ("explain", "smollm2-135m", "--tp"),
    ("explain", "smollm2-135m", "--tokens"),
    ("validate", "--requests"),
    ("validate", "--duration"),
    ("validate", "--rate"),
    ("validate", "--sweep"),
    ("validate", "--name"),
    ("launch", "--dry-run", "--port"),
    ("launch", "--dry-run", "--startup-timeout"),
    ("launch", "--dry-run", "--backend"),
    ("history", "--last"),
    ("logs", "--lines"),
    ("logs", "--name"),
    ("status", "--name"),
    ("stop", "--name"),
    ("backtest",),
    ("plan",),
    ("plan", "smollm2-135m", "--gpus", "1xH100", "--json", "--interconnect"),
    ("validate",),
    ("launch", "--dry-run"),
    (),
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that is home to no plan: nothing is ever launched."""
    return tmp_path_factory.mktemp("elsewhere")


def option(name: str, value: str) -> str:
    return f"--{name}={value}"


@fuzzed(100)
@given(st.lists(st.builds(option, st.sampled_from(PLANNED), words()), min_size=1, max_size=2))
def test_options_of_plan(home: Path, options: list[str]) -> None:
    """A finite plan, or one line."""
    ran(*PLAN, *options, home=home)


@fuzzed(60)
@given(st.sampled_from(OTHERS), words())
def test_options_of_other_commands(elsewhere: Path, words: tuple[str, ...], value: str) -> None:
    """One line: none of these has anything to work on here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(elsewhere)
        ran(*words, value, home=elsewhere / "home")


@fuzzed(150)
@given(
    st.one_of(
        words(),
        st.builds("{}x{}".format, words(), st.sampled_from(("H100", "CPU", "8xH200", "x"))),
        st.builds("{}x{}xH100".format, words(), words()),
    )
)
def test_gpus(spec: str) -> None:
    """A cluster of one to 100,000 devices, or one line."""
    cluster = kept(lambda: parse_gpus(spec))
    assert cluster is None or 1 <= cluster.count <= 100_000
