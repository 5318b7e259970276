"""Figures as people read them: as many digits as matter, and times in a unit that fits."""

# From here on milliseconds say less than seconds, and seconds less than minutes.
MOST_MS, MOST_S = 10_000.0, 120.0
# Above this share more, percentages say less than a factor.
MOST_MORE = 2.0


def number(value: float | None) -> str:
    """A figure with as many digits as matter.

    >>> number(1531.3), number(6.73), number(0.5), number(None)
    ('1,531', '6.7', '0.50', '-')
    """
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:,.1f}" if value >= 1 else f"{value:.2f}"


def duration(ms: float) -> str:
    """A time with its unit.

    >>> duration(6.73), duration(643.2), duration(98_519), duration(279_135)
    ('6.7 ms', '643 ms', '98.5 s', '4.7 min')
    """
    return in_ms(ms) if ms >= MOST_MS else f"{number(ms)} ms"


def in_ms(ms: float | None) -> str:
    """A time where milliseconds are meant unless another unit stands with it.

    >>> in_ms(643.2), in_ms(98_519), in_ms(None)
    ('643', '98.5 s', '-')
    """
    if ms is None or ms < MOST_MS:
        return number(ms)
    seconds = ms / 1e3
    return f"{number(seconds)} s" if seconds < MOST_S else f"{number(seconds / 60)} min"


def change(share: float, what: str = "") -> str:
    """How much more or less there is of something, as a share of what it is compared with.

    >>> change(-0.352), change(1.8, "tokens/s"), change(56.5), change(56.5, "tokens/s")
    ('-35%', '+180% tokens/s', '57.5 times', '57.5 times the tokens/s')
    """
    if share <= MOST_MORE:
        return f"{share:+.0%} {what}".rstrip()
    return f"{number(1 + share)} times" + (f" the {what}" if what else "")


def in_unit(value: float | None, unit: str) -> str:
    """A figure of a table whose row or column names the unit."""
    return in_ms(value) if unit == "ms" else number(value)


def in_gib(size: float) -> str:
    """Bytes of memory as people read them.

    >>> in_gib(80 * 2**30), in_gib(300 * 2**20)
    ('80.0 GiB', '0.3 GiB')
    """
    return f"{size / 2**30:,.1f} GiB"
