"""Errors of models and GPUs that were left out of the fit of an engine's times.

`scripts/fit_serving.py --write` writes them beside the tables, and the table of docs/backtest.md.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.blind import Median
from tpdeploy.files import write_whole
from tpdeploy.profiles.record import Record
from tpdeploy.records import dump_record, read_record

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "benchmarks" / "published" / "left-out.yaml"
PAGE = ROOT / "docs" / "backtest.md"
BEGIN, END = "<!-- left out -->", "<!-- end of left out -->"
TITLES = {"ttft": "TTFT", "tpot": "TPOT", "rate": "tokens/s", "gain": "doubling"}


class LeftOut(Record):
    """The errors of the runs of one model or GPU, by figure."""

    name: str
    runs: int
    fitted: dict[str, Median]  # with a fit to all
    left_out: dict[str, Median]  # with a fit to the others


class Judged(Record):
    """What was left out of the fits, by engine and class of device ("vllm, hopper")."""

    classes: dict[str, tuple[LeftOut, ...]]


def record(engine: str, architecture: str, left_out: Sequence[LeftOut]) -> None:
    """Keep the errors of one engine and class, in the file and on the page."""
    known = read_record(KEPT, Judged).classes if KEPT.exists() else {}
    judged = Judged(classes=dict(sorted((known | {f"{engine}, {architecture}": left_out}).items())))
    write_whole(KEPT, dump_record(judged))
    write_whole(PAGE, page(PAGE.read_text(encoding="utf-8"), judged))


def page(text: str, judged: Judged) -> str:
    """`text` with the table that says what `judged` says."""
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    lines = "\n".join(_lines(judged.classes))
    return f"{before}{BEGIN}\n\n{lines}\n\n{END}{after}"


def _lines(classes: Mapping[str, Sequence[LeftOut]]) -> Iterator[str]:
    yield f"| fit | left out | runs | {' | '.join(TITLES.values())} |"
    yield "|---|---|---:|" + "---:|" * len(TITLES)
    for name, left_out in classes.items():
        for each in left_out:
            cells = (_cell(each.left_out.get(n), each.fitted.get(n)) for n in TITLES)
            yield f"| {name} | {each.name} | {each.runs} | {' | '.join(cells)} |"


def _cell(left_out: Median | None, fitted: Median | None) -> str:
    if left_out is None or fitted is None:
        return ""
    return f"{left_out.percent:.0f} % ({fitted.percent:.0f})"
