"""Drawn cases: models, GPUs, loads and options; the plainest come first, for failures to end at."""

import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, given, note, seed, settings
from hypothesis import strategies as st

from tests.properties.plans import Case, asked
from tpdeploy.profiles.models.library import model_profiles

PLAIN = ("llama-8b", "llama-70b", "qwen3-32b", "qwen3-30b-a3b", "gpt-oss-120b", "deepseek-r1")
MODELS = (*PLAIN, *(profile.id for profile in model_profiles()))
GPUS = (
    "8xH100",
    "1xH100",
    "2xH100",
    "4xH100",
    "8xH200",
    "2x8xH100",
    "8xB200",
    "4xL40S",
    "8xA100-80GB",
    "2xRTX-4090",
    "8xMI300X",
    "2xH100-PCIE-80GB",
    "4x8xH200",
    "3xA40",
)
TOKENS = (1024, 256, 128, 2000, 16, 4000, 2, 1)
ANSWERS = (256, 128, 1000, 16, 2, 2000)
CLIENTS = (32, 1, 8, 64, 3, 200, 1000)
RATES = (1, 4, 10, 30, 0.1, 100)
OBJECTIVES = ("throughput", "latency", "cost")

models = st.sampled_from(MODELS)
gpus = st.sampled_from(GPUS)


@st.composite
def cases(
    draw: st.DrawFn,
    load: str = "any",
    what: st.SearchStrategy[str] = models,
    where: st.SearchStrategy[str] = gpus,
) -> Case:
    """A case under clients, under arrivals, or under either."""
    case = Case(draw(what), draw(where)).given(
        backend="vllm",
        input_tokens=draw(st.sampled_from(TOKENS)),
        output_tokens=draw(st.sampled_from(ANSWERS)),
    )
    kinds = ("concurrency", "rate") if load == "any" else (load,)
    if draw(st.sampled_from(kinds)) == "concurrency":
        return case.given(concurrency=draw(st.sampled_from(CLIENTS)))
    return case.given(rate=draw(st.sampled_from(RATES)))


@st.composite
def wide_cases(
    draw: st.DrawFn,
    load: str = "any",
    what: st.SearchStrategy[str] = models,
    where: st.SearchStrategy[str] = gpus,
) -> Case:
    """A case with options of all kinds."""
    case = draw(cases(load, what, where))
    if draw(st.booleans()):
        case = case.given(optimize=draw(st.sampled_from(OBJECTIVES)))
    if draw(st.booleans()):
        case = case.given(kv_cache_dtype="fp8")
    targets = st.sampled_from((None, "100", "500", "500@mean", "2000@p90", "5000@p99"))
    gaps = st.sampled_from((None, "10", "30", "30@mean", "50@p90", "100@p99"))
    return case.given(ttft=draw(targets), tpot=draw(gaps))


def holds(
    check: Callable[..., None], examples: int, part: int, **drawn: st.SearchStrategy[Any]
) -> None:
    """Run `check` on so many draws, the same ones each time; a failure names its commands.

    Each part has draws of its own. With DRAWN_TIMES=8 there are eight times as many.
    """

    @seed(part)
    @settings(
        max_examples=examples * int(os.environ.get("DRAWN_TIMES", "1")),
        database=None,
        deadline=None,
        print_blob=False,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(**drawn)
    def each(**values: Any) -> None:
        asked.clear()
        try:
            check(**values)
        finally:
            note("\n".join(map(repr, asked)))

    each()
