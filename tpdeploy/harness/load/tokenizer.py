"""The tokenizer of a model, to count the tokens of real prompts."""

from collections.abc import Callable
from pathlib import Path

from tpdeploy.errors import InputError
from tpdeploy.profiles.models.hub import is_off
from tpdeploy.profiles.models.shape import ModelShape

FILE = "tokenizer.json"


def counter(shape: ModelShape) -> Callable[[str], int]:
    """A function that counts the tokens of a text, including special ones at its start.

    The tokenizer lies in the model's folder, or is downloaded from the hub.

    Raises:
        InputError: it cannot be read, or the package that reads it is missing.
    """
    try:
        from tokenizers import Tokenizer  # noqa: PLC0415 - optional
    except ImportError:
        raise InputError(
            "--lengths: prompts as text are counted with the package tokenizers: pip install "
            "'tpdeploy[prompts]'; or give their input_tokens"
        ) from None
    where = shape.path or shape.id
    if not shape.path and (variable := is_off()):
        raise InputError(f"--lengths: {FILE} of {where} is on the hub, and {variable} is set")
    try:
        if shape.path:
            found = Tokenizer.from_file(str(Path(shape.path) / FILE))
        else:
            found = Tokenizer.from_pretrained(shape.id)
    except Exception as error:  # the package raises nothing narrower
        raise InputError(
            f"--lengths: cannot read {FILE} of {where}: {error}; give input_tokens in place of "
            "prompts"
        ) from error
    return lambda text: len(found.encode(text).ids)
