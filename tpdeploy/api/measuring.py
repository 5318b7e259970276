"""Measuring an endpoint from this process."""

import asyncio
from collections.abc import Callable

from tpdeploy.harness.load.client import key_from_environment
from tpdeploy.harness.load.recorder import Progress
from tpdeploy.harness.measure.report import ValidationReport
from tpdeploy.harness.measure.teaching import Launched
from tpdeploy.harness.measure.validation import Measurement, validate
from tpdeploy.launcher.state import Endpoint

OnProgress = Callable[[Progress], None]


def measure_here(
    endpoint: Endpoint, how: Measurement, launched: Launched | None, on_progress: OnProgress
) -> ValidationReport:
    """What the endpoint does, measured `how`, and held against its plan.

    Raises:
        TpdeployError: not one request succeeded.
    """
    return asyncio.run(
        validate(
            endpoint.plan,
            endpoint.url,
            how,
            launched=launched,
            api_key=key_from_environment() or endpoint.own_key(),
            certificate=endpoint.certificate,
            on_progress=on_progress,
        )
    )
