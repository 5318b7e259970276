"""How often what was measured lies in the predicted range, by class of runs.

A class is an engine on a class of device, on one device or on several that are joined. Of a class
with ENOUGH runs, four of five should be within the range: not fewer, and not many more.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from tpdeploy.backends.base import Release
from tpdeploy.harness.backtest.prediction import Predicted
from tpdeploy.harness.backtest.rows import adapter_of, case_of
from tpdeploy.harness.backtest.table import Row
from tpdeploy.planner.serving.prediction import kind_of_model
from tpdeploy.profiles.devices.accelerator import ModelKind
from tpdeploy.profiles.devices.releases import earlier_releases
from tpdeploy.profiles.record import Record

FIGURES = ("ttft", "tpot", "output_tokens_per_s")
PARTS, TITLES = ("published", "others"), ("TTFT", "TPOT", "tokens/s")
MEANT_PERCENT, BAND_PERCENT = 80.0, 5.0
# With fewer runs, chance alone moves the share by more than the band.
ENOUGH = 50

Pair = tuple[Row, Predicted]


@dataclass(frozen=True)
class Kind:
    """What ranges distinguish runs by."""

    engine: str
    architecture: str
    model: ModelKind
    joined: bool

    def beside(self, other: "Kind") -> bool:
        """Whether both are of one engine on one class of device."""
        return (self.engine, self.architecture) == (other.engine, other.architecture)

    @property
    def name(self) -> str:
        """Its class, in words."""
        return f"{self.engine}, {self.architecture}, {'joined' if self.joined else 'alone'}"


class Within(Record):
    """Runs that state a figure, and the share of them that is in its range."""

    rows: int
    percent: float


class Covered(Record):
    """The runs of one class; nothing where nothing was measured."""

    sources: int
    ttft: Within | None = None
    tpot: Within | None = None
    output_tokens_per_s: Within | None = None


def kind_of_run(row: Row) -> Kind:
    """What the range of a run's prediction depends on.

    Raises:
        InputError: the row cannot be predicted.
    """
    reading = case_of(row).readings[0]
    return Kind(
        adapter_of(row["engine"]),
        reading.inputs.cluster.accelerator.architecture,
        kind_of_model(reading.inputs.shape),
        reading.parallelism.ranks > 1,
    )


def of_today(row: Row) -> bool:
    """Whether a run is predicted as one of today's release."""
    version, date = row.get("engine_version", ""), row.get("date", "")
    return not any(
        Release(known.major, known.minor, known.released.isoformat()).is_after(version, date)
        and not Release(*known.since).is_after(version)
        for platform in ("cuda", "rocm")
        for known in earlier_releases(adapter_of(row["engine"]), platform)
    )


def source_of(row: Row, table: str) -> str:
    """Who measured a run: the first word of its family, else its table."""
    return (row.get("family") or table).split()[0]


def covered(tables: Mapping[str, Iterable[Pair]]) -> dict[str, Covered]:
    """The classes of the runs in `tables`, by name; those of earlier releases by themselves."""
    inside: defaultdict[str, defaultdict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    sources: defaultdict[str, set[str]] = defaultdict(set)
    for table, pairs in tables.items():
        for row, told in pairs:
            name = kind_of_run(row).name + ("" if of_today(row) else ", earlier releases")
            sources[name].add(source_of(row, table))
            for figure in FIGURES:
                compared = getattr(told, figure)
                if compared.measured is not None:
                    inside[name][figure].append(compared.in_range)
    return {
        name: Covered(
            sources=len(sources[name]),
            **{figure: _within(found) for figure, found in inside[name].items()},
        )
        for name in sorted(sources)
    }


def out_of_band(classes: Mapping[str, Covered]) -> Iterator[str]:
    """Each figure of a class with enough runs of which too few or too many are in range."""
    low, high = MEANT_PERCENT - BAND_PERCENT, MEANT_PERCENT + BAND_PERCENT
    for name, found in classes.items():
        for figure in FIGURES:
            within = getattr(found, figure)
            if within and within.rows >= ENOUGH and not low <= round(within.percent) <= high:
                yield (
                    f"{name}: {figure}: {within.percent} % of {within.rows} in range, need {low:g} "
                    f"to {high:g} %"
                )


def lines(published: Mapping[str, Covered], others: Mapping[str, Covered]) -> Iterator[str]:
    """The table of docs/backtest.md."""
    yield "| class | " + " | ".join(f"{of}: {name}" for of in PARTS for name in TITLES) + " |"
    yield "|---" + "|---:" * len(PARTS) * len(TITLES) + "|"
    for name in sorted({*published, *others}):
        found = [
            getattr(part.get(name), figure, None)
            for part in (published, others)
            for figure in FIGURES
        ]
        cells = [f"{each.percent:.0f} % of {each.rows}" if each else "" for each in found]
        yield "|" + "".join(f" {cell} |" if cell else " |" for cell in (name, *cells))


def _within(inside: list[bool]) -> Within:
    return Within(rows=len(inside), percent=round(100 * sum(inside) / len(inside), 2))
