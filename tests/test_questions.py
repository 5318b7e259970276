"""Every command of docs/questions.md runs, says what is quoted, and answers the question."""

import re
from collections.abc import Iterator

import pytest

from scripts.quote_answers import PAGE, answer, commands, current, working_folder

TEXT = PAGE.read_text(encoding="utf-8")
QUOTED = dict(commands(TEXT))

# What several of the answers hold: another split serves less; from some load on, replicas win.
LESS = r"-\d+% tokens/s"
TURNS_TO_REPLICAS = (
    r"- Up to \d+ requests in flight TP 2 x 1, from \d+ requests in flight TP 1 x 2\."
)
# What the page says about each answer, as expressions that the answer must hold.
FACTS = {
    "plan llama-8b --gpus 2xL40S --concurrency 256 --all": [
        "TP 1 x 2 replicas",
        "no NVLink",
        rf"- TP 2 x 1 instead: {LESS}",
        TURNS_TO_REPLICAS,
    ],
    "plan llama-2-7b --gpus 4xA10G --concurrency 128 --all": [
        r"^\d+ of your 128 requests fit at once \(KV cache\)",
        "on 4x A10G: TP 2 x 2 replicas",
        rf"- TP 1 x 4 instead: {LESS}.* decode step of 11 requests",
        rf"- TP 4 x 1 instead: {LESS}",
        rf"\nTP 2 x PP 2 x 1 .* {LESS}",
    ],
    "plan llama-2-7b --gpus 2xA100-PCIe --concurrency 128 --all": [
        "TP 1 x 2 replicas",
        rf"- TP 2 x 1 instead: {LESS}",
        TURNS_TO_REPLICAS,
    ],
    "plan llama-3.2-1b --gpus 2xL40 --concurrency 64 --all": [
        "TP 1 x 2 replicas",
        rf"- TP 2 x 1 instead: {LESS}",
        TURNS_TO_REPLICAS,
    ],
    "plan ./starcoder2-3b --gpus 2xA10G --concurrency 1 --all": [
        "TP 2 x 1 replica",
        rf"- TP 1 x 2 instead: {LESS}",
    ],
    "plan llama-3.2-3b --gpus 8xV100-PCIe --tp 8 --concurrency 1 --all": ["TP 8 x 1", "no NVLink"],
    "plan llama-2-7b --gpus 2xA10G --tp 2 --replicas 2": ["too few", "--replicas up to 1"],
    "plan qwen2.5-7b --gpus 8xH100 --tp 8": ["28 attention heads", "1, 2, 4$"],
    "plan qwen2.5-7b --gpus 8xH100 --all": [r"TP [124] x [248] replicas", r"TP 8 x 1 - .* 28 "],
    "plan ./llama-33b --gpus 3xV100 --all": [
        r"^\d+ of your 32 requests fit at once \(KV cache\)",
        "TP 1 x PP 3 x 1 replica",
        r"TP 3 x 1 - .* 52 ",
    ],
    "plan ./llama-33b --gpus 8xV100 --all": ["TP 4 x 2 replicas"],
    "plan ./llama-33b --gpus 8xV100 --tp 8": ["52 attention heads", "1, 2, 4$"],
    "plan llama-8b --gpus 1xRTX-4090 --all": [
        r"tokens per replica",
        r"Requests up to [\d,]+ tokens",
    ],
    "plan llama-8b --gpus 1xRTX-4090 --max-model-len 131072": [
        "does not fit",
        "131,072 tokens needs",
        r"what would work: --max-model-len \d+",
    ],
    "plan llama-8b --gpus 2xA100 --tp 2 --all": ["TP 2 x 1 replica"],
    "plan qwen3-32b --gpus 2xH100-NVL --tp 2 --all": ["nvlink-bridge"],
    "plan qwen3-32b --gpus 2xH100-NVL --tp 2 --interconnect pcie --all": ["no NVLink"],
    "plan qwen3-32b --gpus 4xA10 --all": [r"TPOT p50 \S+ ms \(expected", "source model"],
    "backtest runs.csv": [r"all 6/6 TTFT \d+%"],
    "plan qwen3-32b --gpus 1xH200 --input-tokens 4096 --concurrency 16 --all": [
        r"TTFT p50 .*; requests out of step$",
        "TPOT p50",
    ],
    "plan llama-70b --gpus 8xH100 --all": [r"TPOT = \(end-to-end - TTFT\) / \(output tokens - 1\)"],
    "plan qwen2.5-7b --gpus 8xH100 --output-tokens 16384 --concurrency 256 --all": [
        "TP 4 x 2 replicas",
        r"- TP 2 x 4 instead: ",
        r"- TP 2 x 4 is as good within the error of such comparisons",
        rf"\nTP 1 x 8 .* {LESS}",
    ],
}
REFUSED = {
    "plan llama-2-7b --gpus 2xA10G --tp 2 --replicas 2": 2,
    "plan qwen2.5-7b --gpus 8xH100 --tp 8": 2,
    "plan ./llama-33b --gpus 8xV100 --tp 8": 2,
    "plan llama-8b --gpus 1xRTX-4090 --max-model-len 131072": 3,
}
THREADS = 18


@pytest.fixture(autouse=True)
def _folder() -> Iterator[None]:
    with working_folder(TEXT):
        yield


def test_every_command_of_the_page_is_checked() -> None:
    """No command without facts, no facts without a command; every thread is linked."""
    assert set(FACTS) == set(QUOTED)
    assert len(re.findall(r"^\[.*\]\(https://github.com/.*/issues/\d+\)$", TEXT, re.M)) == THREADS


@pytest.mark.parametrize("command", FACTS)
@pytest.mark.slow
def test_the_answer_is_what_the_page_says(command: str) -> None:
    """Its facts, its exit code, and the quoted lines up to their figures."""
    lines, code = answer(command)
    said = "\n".join(lines)
    for fact in FACTS[command]:
        assert re.search(fact, said, re.M), f"{fact!r} is not in:\n{said}"
    assert code == REFUSED.get(command, 0)
    for quoted in QUOTED[command]:
        assert current(quoted, lines), f"no line like {quoted!r} in:\n{said}"


@pytest.mark.slow
def test_nvlink_beats_pcie() -> None:
    """What the bridge saves, as the page shows it: TPOT with it is lower."""
    command = "plan qwen3-32b --gpus 2xH100-NVL --tp 2 --all"
    assert _tpot(command) < _tpot(
        "plan qwen3-32b --gpus 2xH100-NVL --tp 2 --interconnect pcie --all"
    )


@pytest.mark.slow
def test_gpus_that_were_not_fitted_have_wider_ranges() -> None:
    """A10 was not fitted, H100 was."""
    assert _width("plan qwen3-32b --gpus 4xA10 --all") > _width(
        "plan qwen3-32b --gpus 4xH100 --all"
    )


def _tpot(command: str) -> float:
    return _figures(command)[0]


def _width(command: str) -> float:
    _, low, high = _figures(command)
    return high / low


def _figures(command: str) -> tuple[float, float, float]:
    """TPOT, and the ends of its range."""
    said = "\n".join(answer(command)[0])
    found = re.search(r"^TPOT p50 (\S+) ms \(expected (\S+) to (\S+)\)", said, re.M)
    assert found is not None, said
    value, low, high = (float(text.replace(",", "")) for text in found.groups())
    return value, low, high
