"""Every adapter that is installed keeps to the contract."""

import pytest

from tpdeploy.backends.base import Backend
from tpdeploy.backends.conformance import BackendConformance
from tpdeploy.backends.registry import backend_names, load_backend


class TestBuiltIn(BackendConformance):
    """vLLM, TensorRT-LLM and DeepSpeed-MII, by their entry points."""

    @pytest.fixture(params=backend_names())
    def backend(self, request: pytest.FixtureRequest) -> Backend:
        return load_backend(request.param)


def test_there_are_three() -> None:
    """None is lost."""
    assert {"deepspeed-mii", "tensorrt-llm", "vllm"} <= set(backend_names())
