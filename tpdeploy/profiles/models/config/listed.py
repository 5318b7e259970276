"""What a config.json lists layer by layer."""

from tpdeploy.profiles.models.config.keys import ConfigKeys


def listed_kinds(keys: ConfigKeys, name: str, layers: int) -> list[str]:
    """The kind that the list `name` has for each layer; empty where there is no list.

    Step lists the layers for multi-token prediction behind the others.

    Raises:
        InputError: it is too short or too long.
    """
    kinds = keys.words(name)
    drafts = keys.whole("num_nextn_predict_layers", default=0, least=0)
    kinds = kinds[:layers] if len(kinds) == layers + drafts else kinds
    if kinds:
        need_each(keys, name, len(kinds), layers)
    return kinds


def alike(keys: ConfigKeys, name: str, default: int | None = None) -> int:
    """A whole number, or the one that a list repeats for every layer.

    Raises:
        InputError: the numbers of the list differ.
    """
    if not isinstance(keys.value(name), list):
        return keys.whole(name, default=default)
    numbers = set(keys.numbers(name))
    if len(numbers) != 1 or min(numbers) < 1:
        raise keys.refused(name, "need the same number of at least 1 for all layers")
    return numbers.pop()


def need_each(keys: ConfigKeys, name: str, found: int, layers: int) -> None:
    """Refuse a list that has not one for each layer."""
    if found != layers:
        raise keys.refused(name, f"need one for each of the {layers} layers")
