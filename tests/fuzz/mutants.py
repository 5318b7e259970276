"""Broken inputs: values nobody can mean, documents in which they stand, and files that are none."""

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy

from hypothesis import strategies as st

# Nested tuples of a path into a document.
Path = tuple[str | int, ...]

NUMBERS: tuple[object, ...] = (
    *(0, 1, -1, 2, 3, 7, 64, 8192, 2**31, 2**40, 2**53, 2**63, -(2**63), 10**18, 10**400),
    *(0.0, 0.5, 1.0, -0.5, 1e-6, 1e-12, 1e-300, 5e-324, 1e15, 1e30, 1e308),
    *(float("inf"), float("-inf"), float("nan")),
)
TEXTS: tuple[str, ...] = (
    *("", " ", "a", "[/b]", "[bold red]x", ":smile:", "\x1b[31mred\x1b[0m", "two\nlines", "\t\r"),
    *("nul\x00", "\u202eright", "\u2028", "é", "a" * 300, "a" * 5000, "~nobody/x", "/dev/null"),
    *("inf", "nan", "1e400", "-1", "9" * 400, "9" * 5000, "0x10", "1,000", "²", "true", "null"),
    *("999999937", "http://[", "00010101-000000", "--tp", "../../x", "%s{}", "a" * 255),
)
VALUES: tuple[object, ...] = (
    *NUMBERS,
    *TEXTS,
    *(None, True, False, [], {}, [[]], [None], {"a": None}, [1, "a"], ["a"] * 3, [0] * 200),
)


def values() -> st.SearchStrategy[object]:
    """Something that may stand anywhere in a document."""
    return st.one_of(
        st.sampled_from(VALUES), st.integers(-(2**40), 2**40), st.floats(), st.text(max_size=20)
    )


def words() -> st.SearchStrategy[str]:
    """Something that may stand on a command line, or in a cell of a table."""
    numbers = st.one_of(st.integers(-(10**7), 10**7), st.floats()).map(str)
    plain = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8)
    return st.one_of(st.sampled_from(TEXTS), st.sampled_from(NUMBERS).map(_word), numbers, plain)


def _word(number: object) -> str:
    return str(number).replace("\x00", "")


@st.composite
def mutants(draw: st.DrawFn, document: object) -> object:
    """`document` with one to three of its parts changed, left out or misplaced."""
    changed = deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        changed = _mutated(draw, changed)
    return changed


def _mutated(draw: st.DrawFn, document: object) -> object:
    paths = list(paths_of(document))
    if not paths:
        return draw(values())
    path = draw(st.sampled_from(paths))
    place: object = document
    for part in path[:-1]:
        place = place[part]  # type: ignore[index]
    assert isinstance(place, dict | list)
    match draw(st.sampled_from(("value", "value", "value", "scale", "gone", "other"))):
        case "value":
            place[path[-1]] = draw(values())  # type: ignore[index]
        case "scale":
            place[path[-1]] = _scaled(place[path[-1]], draw)  # type: ignore[index]
        case "gone":
            del place[path[-1]]  # type: ignore[arg-type]
        case "other" if isinstance(place, dict):
            place[draw(st.sampled_from(TEXTS))] = draw(values())
        case _ if isinstance(place, list):
            place.append(deepcopy(place[path[-1]]))  # type: ignore[index]
    return document


def _scaled(value: object, draw: st.DrawFn) -> object:
    """A number of another order; what is no number as it was."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    by = draw(st.sampled_from((-1, 2, 3, 10**3, 10**6, 10**9)))
    return value * by


def paths_of(document: object) -> Sequence[Path]:
    """The place of every value in a document, itself left out."""
    found: list[Path] = []
    if isinstance(document, Mapping):
        for key, value in document.items():
            found += [(key,), *((key, *path) for path in paths_of(value))]
    elif isinstance(document, list):
        for index, value in enumerate(document[:3]):
            found += [(index,), *((index, *path) for path in paths_of(value))]
    return found


def files(text: str) -> st.SearchStrategy[bytes]:
    """Bytes that are nearly `text`: cut, doubled, in another encoding, or something else."""
    plain = text.encode()
    fixed = (
        *(b"", b"\x00", b"\xff\xfe\x00\x01", b"[" * 3000, b'{"a":' * 3000, b"9" * 5000, b"null"),
        *(text.encode("utf-16"), b"\xef\xbb\xbf" + plain, plain + plain, plain[:-2], b"- " * 3000),
        *(b"a: 1\na: 2\n", b'{"a": 1, "a": 2}', b"a: &x [1]\nb: [*x, *x]\n", b"\x89PNG\r\n\x1a\n"),
    )
    cut = st.integers(0, len(plain)).map(lambda n: plain[:n])
    return st.one_of(st.sampled_from(fixed), cut, st.binary(max_size=60), _flipped(plain))


@st.composite
def _flipped(draw: st.DrawFn, plain: bytes) -> bytes:
    at = draw(st.integers(0, max(0, len(plain) - 1)))
    return plain[:at] + draw(st.binary(min_size=1, max_size=3)) + plain[at + 1 :]


def as_json(document: object) -> str:
    """A mutant as JSON, infinite numbers and long ones as Python writes them."""
    return json.dumps(document)
