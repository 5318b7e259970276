"""What the page shows of a plan, from the fields of its form."""

import shlex
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, cast

from tpdeploy.api.functions import plan
from tpdeploy.api.options import Options
from tpdeploy.cli.views.plan import warnings
from tpdeploy.cli.views.plan_splits import SplitRow, shown_unit, split_rows
from tpdeploy.cli.views.splits import split_words
from tpdeploy.errors import InfeasibleError, InputError
from tpdeploy.numbers import duration, in_ms, in_unit, number
from tpdeploy.planner.plan import DeploymentPlan, Estimate
from tpdeploy.profiles.record import Record

# Fields of the form that are options of the planner, and the option of the command for each.
WHOLE = {
    "input_tokens": "--input-tokens",
    "output_tokens": "--output-tokens",
    "concurrency": "--concurrency",
}
MILLISECONDS = {"ttft_ms": "--ttft", "tpot_ms": "--tpot"}
WORDS = {"quantization": "--quantization", "backend": "--backend", "optimize": "--optimize"}
FIELDS = frozenset({"model", "gpus", *WHOLE, *MILLISECONDS, *WORDS})
LONGEST = 200  # characters of a field
KEPT = 256  # answers: a slider goes back and forth


class Shown(Record):
    """A figure with its unit, and the range that four of five measurements lie in."""

    name: str
    value: str
    range: str


class Split(Record):
    """One split that was simulated; `share` of the longest bar is the length of its own."""

    name: str
    shown: str
    ttft_ms: str
    tpot_ms: str
    share: float
    chosen: bool
    verdict: str


class Answer(Record):
    """All that the page shows."""

    answer: str
    warnings: tuple[str, ...]
    what: str
    figures: tuple[Shown, ...]
    unit: str
    splits: tuple[Split, ...]
    why: str
    depends_on: tuple[str, ...]
    command: str


class Refusal(Record):
    """Why there is no plan, and what would work."""

    error: str
    command: str


def answer_to(fields: Mapping[str, str]) -> Answer | Refusal:
    """The answer to a form; fields that are empty have their defaults.

    Raises:
        InputError: a field that is none, or too long.
    """
    for name, text in fields.items():
        if name not in FIELDS or len(text) > LONGEST:
            raise InputError(f"{name[:LONGEST]!r} is no field, or has over {LONGEST} characters")
    return _answer(tuple(sorted((name, text.strip()) for name, text in fields.items())))


@lru_cache(maxsize=KEPT)
def _answer(pairs: tuple[tuple[str, str], ...]) -> Answer | Refusal:
    fields = {name: text for name, text in pairs if text}
    command = command_of(fields)
    try:
        made = plan(fields.get("model", ""), fields.get("gpus", "auto"), **_options(fields))
    except (InputError, InfeasibleError) as refusal:
        return Refusal(error=str(refusal), command=command)
    return _shown(made, command)


def command_of(fields: Mapping[str, str]) -> str:
    """The command that answers the same."""
    words = ["tpdeploy", "plan", fields.get("model", ""), "--gpus", fields.get("gpus", "auto")]
    for name, option in {**WHOLE, **MILLISECONDS, **WORDS}.items():
        if name in fields:
            words += [option, fields[name]]
    return shlex.join(words)


def _options(fields: Mapping[str, str]) -> Options:
    found: dict[str, Any] = {name: fields[name] for name in WORDS if name in fields}
    for names, kind in ((WHOLE, int), (MILLISECONDS, float)):
        for name in names.keys() & fields.keys():
            try:
                found[name] = kind(fields[name])
            except ValueError:
                raise InputError(f"{name} {fields[name]!r}: give a number") from None
    return cast("Options", found)


def _shown(made: DeploymentPlan, command: str) -> Answer:
    told, cluster = made.prediction, made.cluster
    statistic = made.workload.ttft.at if made.workload.ttft else "p50"
    figures = [
        (f"Time to first token ({statistic})", told.ttft_ms, "ms"),
        ("Time per output token", told.tpot_ms, "ms"),
        ("Output tokens per second", told.output_tokens_per_s, ""),
    ]
    if told.goodput_per_s:
        figures.append(("Requests per second on target", told.goodput_per_s, ""))
    return Answer(
        answer=made.answer,
        warnings=tuple(warnings(made)),
        what=f"{made.model.id} with {made.backend} on {cluster.count}x {cluster.gpu}",
        figures=tuple(_figure(*each) for each in figures),
        unit=shown_unit(made),
        splits=tuple(_split(row) for row in split_rows(made)),
        why=" ".join(made.why),
        depends_on=made.depends_on,
        command=command,
    )


def _figure(name: str, found: Estimate, unit: str) -> Shown:
    value = duration(found.value) if unit else number(found.value)
    told = f"{in_unit(found.low, unit)} to {in_unit(found.high, unit)} {unit}".rstrip()
    return Shown(name=name, value=value, range=told)


def _split(row: SplitRow) -> Split:
    return Split(
        name=split_words(row.split),
        shown=number(row.shown),
        ttft_ms=in_ms(row.ttft_ms),
        tpot_ms=in_ms(row.tpot_ms),
        share=row.share,
        chosen=row.chosen,
        verdict="" if row.chosen else row.verdict,
    )
