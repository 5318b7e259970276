"""What the functions return: records with the figures, which notebooks show as tables."""

from pathlib import Path

from pydantic import Field

from tpdeploy.api.html import comparison_html, plan_html
from tpdeploy.files import write_whole
from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.profiles.record import Record, Text
from tpdeploy.records import dump_record


class Plan(DeploymentPlan):
    """A plan: the split, its prediction, the reasons and the alternatives.

    Times end in `_ms` (milliseconds), sizes in `_bytes`, rates in `_per_s`. `str(plan)` is the
    answer in a sentence; `plan.prediction.ttft_ms` has `value`, `low`, `high` and `source`.
    """

    def save(self, path: str | Path) -> Path:
        """Write the plan as YAML, which `tpdeploy launch` and `tpdeploy validate` read.

        Raises:
            TpdeployError: it cannot be written.
        """
        write_whole(Path(path), dump_record(self))
        return Path(path)

    def __str__(self) -> str:
        return self.answer

    def _repr_html_(self) -> str:
        return plan_html(self)


class Compared(Record):
    """One of several plans side by side; without a plan, why there is none."""

    name: Text
    plan: Plan | None
    reason: str = ""


class Comparison(Record):
    """Several plans for the same load, in the order in which they were asked for."""

    compared: tuple[Compared, ...]
    turns: str = Field(default="", description="up to which load which of them serves most")

    @property
    def best(self) -> Compared | None:
        """The one with the most output tokens/s; None if none is feasible."""
        able = [each for each in self.compared if each.plan]
        return max(able, key=_tokens_per_s, default=None)

    def _repr_html_(self) -> str:
        return comparison_html([(each.name, each.plan, each.reason) for each in self.compared])


def _tokens_per_s(compared: Compared) -> float:
    return compared.plan.prediction.output_tokens_per_s.value if compared.plan else 0.0
