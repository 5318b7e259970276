"""A deployment that serves, as `tpdeploy.launch` returns it."""

from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType

from tpdeploy.errors import InputError
from tpdeploy.launcher.control import stop
from tpdeploy.planner.plan import DeploymentPlan


@dataclass(frozen=True)
class Running:
    """A deployment that serves; as a context manager it is stopped at the end of the block.

    `url` is what clients of OpenAI's interface take as `base_url`.
    """

    name: str
    url: str
    model: str
    plan: DeploymentPlan

    def stop(self) -> None:
        """End all of it.

        Raises:
            InputError: it is not running any more.
            TpdeployError: a port is left.
        """
        stop(self.name)

    def __enter__(self) -> "Running":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(InputError):  # it has ended by itself, or was stopped in the block
            self.stop()
