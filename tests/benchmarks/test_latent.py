"""What a latent adds to a layer is found from runs; every table that `fit.sh` reads can be read."""

import re
from math import log
from pathlib import Path

import pytest

from tests.scripts import FOLDER, script
from tpdeploy.harness.backtest.prediction import Predicted, predict_row
from tpdeploy.harness.backtest.table import read_rows
from tpdeploy.profiles.devices.catalog import efficiency_of

ROOT = FOLDER.parent
UNSEEN = ROOT / "benchmarks" / "unseen" / "2026-11-27-engines.csv"


@pytest.mark.slow
def test_the_recorded_time_is_what_the_runs_tell() -> None:
    """Of TensorRT-LLM on Hopper: six runs, none off by more than a quarter."""
    fit_latent = script("fit_latent")
    runs = fit_latent.read(UNSEEN, "tensorrt-llm", "hopper")
    start = efficiency_of("hopper", "tensorrt-llm")
    assert start.latent is not None
    assert len(runs) == 6
    found = fit_latent.fit(start, runs)
    assert found.layer_s == pytest.approx(start.latent.layer_s)
    assert found.source == start.latent.source
    assert max(map(abs, fit_latent.errors(start, runs, found.layer_s))) < log(1.25)


def test_runs_that_nothing_was_fitted_to_are_met() -> None:
    """DeepSeek-V3 with 4-bit weights on A100 and H200, one request (QuixiAI's model card)."""
    card = {
        **{"model": "deepseek-ai/DeepSeek-V3", "precision": "int4", "engine": "vllm"},
        **{"engine_version": "0.8.3", "pp": "1", "dp": "1"},
        **{"input_tokens": "2", "output_tokens": "2048", "concurrency": "1", "requests": "1"},
    }
    for gpu, tp, measured_ms in (("A100 SXM 80GB", "8", 21.98), ("H200 SXM 141GB", "4", 17.12)):
        told = predict_row({**card, "gpu": gpu, "gpu_count": tp, "tp": tp})
        assert isinstance(told, Predicted)
        assert told.tpot.predicted == pytest.approx(measured_ms, rel=0.1)


def test_tables_of_the_fit_can_be_read() -> None:
    """Each that the script names is a table of runs: others lie beside them."""
    names = set(re.findall(r"\$published/(\S+?)\"", (FOLDER / "fit.sh").read_text()))
    assert "serving.csv" in names
    for name in names:
        assert read_rows(Path(ROOT / "benchmarks" / "published" / name)).rows
