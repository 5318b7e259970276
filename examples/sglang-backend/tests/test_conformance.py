"""The SGLang adapter keeps to the contract that tpdeploy ships."""

import pytest
from tpdeploy_sglang import SglangBackend

from tpdeploy.backends.conformance import BackendConformance


class TestSglang(BackendConformance):
    """Everything it checks, with one fixture."""

    @pytest.fixture
    def backend(self) -> SglangBackend:
        """The adapter under test."""
        return SglangBackend()
