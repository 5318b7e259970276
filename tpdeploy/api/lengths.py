"""How long requests are: from what was stated to the fields of a workload."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tpdeploy.api.naming import option_of
from tpdeploy.errors import InputError, shown
from tpdeploy.harness.load.lengths import read_lengths
from tpdeploy.planner.lengths import Lengths, drawn, named, representative
from tpdeploy.planner.margins import Even, LogNormal, Margin, parse_tokens
from tpdeploy.planner.workload import (
    INPUT_TOKENS,
    LENGTH_SPREAD,
    MOST_SPREAD,
    OUTPUT_TOKENS,
    fields_of,
)
from tpdeploy.profiles.models.shape import ModelShape

Tokens = str | float


@dataclass(frozen=True)
class Stated:
    """What was stated of the lengths; None: nothing."""

    input_tokens: Tokens | None = None
    output_tokens: Tokens | None = None
    length_spread: float | None = None
    workload: str | None = None
    lengths: str | Path | None = None

    def fields(self, model: ModelShape) -> dict[str, Any]:
        """The fields of a workload that is so long.

        Raises:
            InputError: a length or name that there is not, an unreadable file, or two of them.
        """
        self._check_alone()
        if self.workload is not None:
            return fields_of(named(self.workload))
        if self.lengths is not None:
            return fields_of(_of_file(Path(self.lengths), model))
        return self._of_margins()

    def _check_alone(self) -> None:
        names = ("workload", "lengths", "input_tokens", "output_tokens", "length_spread")
        given = [name for name in names if getattr(self, name) is not None]
        if len(given) > 1 and given[0] in {"workload", "lengths"}:
            first, other = (option_of(name) for name in given[:2])
            raise InputError(f"{first} and {other}: both say how long requests are; give one")

    def _of_margins(self) -> dict[str, Any]:
        given = [
            parse_tokens(option_of(name), usual if stated is None else stated)
            for name, stated, usual in (
                ("input_tokens", self.input_tokens, INPUT_TOKENS),
                ("output_tokens", self.output_tokens, OUTPUT_TOKENS),
            )
        ]
        spread = LENGTH_SPREAD if self.length_spread is None else self.length_spread
        prompt, answer = given
        if isinstance(prompt, int) and isinstance(answer, int):
            return {"input_tokens": prompt, "output_tokens": answer, "length_spread": spread}
        if not 0 <= spread <= MOST_SPREAD:
            raise InputError(
                f"{option_of('length_spread')} {shown(spread)}: must be from 0 to {MOST_SPREAD}"
            )
        if self.length_spread is not None and not isinstance(prompt, int) | isinstance(answer, int):
            raise InputError(
                f"{option_of('length_spread')} {spread:g}: prompts and answers already have a "
                "distribution; leave it out"
            )
        sides = _margin(prompt, spread), _margin(answer, spread)
        source = f"As stated: {_words(prompt, spread)} in, {_words(answer, spread)} out"
        return fields_of(drawn(*sides, name="stated distribution", source=source))


def _of_file(path: Path, model: ModelShape) -> Lengths:
    """Requests of a file; the tokenizer is loaded only if one of them is text."""

    def count(text: str) -> int:
        if not counters:
            from tpdeploy.harness.load.tokenizer import counter  # noqa: PLC0415 - rarely needed

            counters.append(counter(model))
        return counters[0](text)

    counters: list[Callable[[str], int]] = []
    rows = read_lengths(path, count)
    found = representative(rows, name=path.name, source=str(path))
    some = f", represented by {len(found.pairs):,} of them" if len(found.pairs) < len(rows) else ""
    return found.changed(source=f"{path}: {len(rows):,} requests{some}")


def _margin(tokens: int | Even | LogNormal, spread: float) -> Margin:
    if isinstance(tokens, int):
        return Even(tokens * (1 - spread), tokens * (1 + spread))
    return tokens


def _words(tokens: int | Even | LogNormal, spread: float) -> str:
    match tokens:
        case Even():
            return f"{tokens.low:,.0f} to {tokens.high:,.0f} evenly"
        case LogNormal():
            return f"log-normal with mean {tokens.mean:,.0f} and p95 {tokens.p95:,.0f}"
    return f"{tokens:,} within {spread:.0%}" if spread else f"{tokens:,}"
