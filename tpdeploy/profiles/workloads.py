"""Named workloads: how long the requests of public data are, as quantiles and a correlation."""

from functools import cache

from pydantic import Field, model_validator

from tpdeploy.bounds import Tokens, Whole
from tpdeploy.errors import InputError, nearest, shown
from tpdeploy.profiles import DATA
from tpdeploy.profiles.record import Provenance, Record, Text
from tpdeploy.records import read_record

# Percents that every record has: answers show them.
SHOWN = {0, 50, 90, 95, 99, 100}


class Side(Record):
    """The lengths of prompts, or of answers, in tokens."""

    mean: float = Field(gt=0, description="of the source's requests")
    quantiles: dict[float, Tokens] = Field(
        description="percent of the requests, from 0 to 100, and the tokens of the longest of them"
    )

    @model_validator(mode="after")
    def _rising(self) -> "Side":
        shares, tokens = list(self.quantiles), list(self.quantiles.values())
        if shares[:1] != [0] or shares[-1:] != [100] or sorted(set(shares)) != shares:
            raise ValueError("quantiles: need rising percents from 0 to 100")
        if lacking := SHOWN - set(shares):
            raise ValueError(f"quantiles: need {', '.join(f'{s:g}' for s in sorted(lacking))} too")
        if sorted(tokens) != tokens:
            raise ValueError("quantiles: tokens must not fall")
        return self


class WorkloadProfile(Provenance):
    """Requests of one kind."""

    name: Text
    description: Text
    requests: Whole = Field(gt=0, description="that the source has")
    input: Side
    output: Side
    correlation: float = Field(
        gt=-1, lt=1, description="of the normal scores of prompt and answer lengths"
    )


@cache
def workload_profiles() -> tuple[WorkloadProfile, ...]:
    """Every bundled workload, by name."""
    paths = sorted((DATA / "workloads").glob("*.yaml"))
    return tuple(read_record(path, WorkloadProfile) for path in paths)


def workload_names() -> tuple[str, ...]:
    """The names of the bundled workloads."""
    return tuple(profile.name for profile in workload_profiles())


def find_workload(name: str) -> WorkloadProfile:
    """The bundled workload called `name`.

    Raises:
        InputError: there is none; the nearest names are offered.
    """
    wanted = name.strip().lower()
    for profile in workload_profiles():
        if profile.name == wanted:
            return profile
    raise InputError(f"no workload {shown(name)!r}; {nearest(wanted, workload_names())}")
