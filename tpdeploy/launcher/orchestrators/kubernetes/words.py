"""What only a pod knows, in a command: the kubelet replaces $(NAME) by the variable NAME.

Backends take them for ordinary words; `written` makes them what the kubelet replaces, and keeps
it from replacing anything else.
"""

# Between NULs, which no word of a command line can hold.
MARK = "\0"


def late(name: str) -> str:
    """What stands for the variable `name` of the container, alone or inside a word."""
    return f"{MARK}{name}{MARK}"


def written(word: str) -> str:
    """`word` as it stands in a manifest.

    >>> written("a$(b)" + late("POD_IP"))
    'a$$(b)$(POD_IP)'
    """
    pieces = word.split(MARK)
    return "".join(
        f"$({piece})" if number % 2 else piece.replace("$", "$$")
        for number, piece in enumerate(pieces)
    )
