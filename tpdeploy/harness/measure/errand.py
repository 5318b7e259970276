"""A measurement made by another tpdeploy, nearer to the engines, and reported in lines."""

import asyncio
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from tpdeploy import __version__
from tpdeploy.errors import InputError
from tpdeploy.harness.load.recorder import Progress
from tpdeploy.harness.measure.report import ValidationReport
from tpdeploy.harness.measure.teaching import Launched
from tpdeploy.harness.measure.validation import Measurement, validate
from tpdeploy.planner.plan import DeploymentPlan


@dataclass(frozen=True)
class Errand:
    """What to measure, and where, as one line of JSON; it holds the endpoint's key."""

    plan: DeploymentPlan
    url: str
    how: Measurement
    launched: Launched | None = None
    api_key: str | None = None
    certificate: str | None = None  # the endpoint's own, as PEM
    version: str = __version__

    def line(self) -> str:
        """As it is sent."""
        return ERRAND.dump_json(self).decode() + "\n"


ERRAND = TypeAdapter(Errand)
TOLD: TypeAdapter[Progress | ValidationReport] = TypeAdapter(Progress | ValidationReport)


def told(line: str) -> Progress | ValidationReport | None:
    """What the measuring tpdeploy reports in a line; None for lines of other programs."""
    try:
        return TOLD.validate_json(line)
    except ValidationError:
        return None


def run(line: str, say: Callable[[str], None]) -> None:
    """Run the measurement in `line`, and print its progress and its result, one per line.

    Raises:
        InputError: it is not an errand, or one of another version of tpdeploy.
        TpdeployError: nothing answers there, or not one request succeeded.
    """
    errand = _read(line)

    def show(progress: Progress) -> None:
        say(TOLD.dump_json(progress).decode())

    with tempfile.NamedTemporaryFile("w", suffix=".pem", encoding="utf-8") as file:
        file.write(errand.certificate or "")
        file.flush()
        found = asyncio.run(
            validate(
                errand.plan,
                errand.url,
                errand.how,
                launched=errand.launched,
                api_key=errand.api_key,
                certificate=Path(file.name) if errand.certificate else None,
                on_progress=show,
            )
        )
    say(TOLD.dump_json(found).decode())


def _read(line: str) -> Errand:
    """The measurement in a line; an error does not show the key that the line holds."""
    try:
        errand = ERRAND.validate_json(line)
    except ValidationError:
        raise InputError(
            f"client: what was to be measured is not told as tpdeploy {__version__} tells it"
        ) from None
    if errand.version != __version__:
        raise InputError(f"client: tpdeploy {__version__} was asked by {errand.version}")
    return errand
