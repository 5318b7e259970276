"""Scripts of the repository, imported from their files."""

import importlib.util
from pathlib import Path
from types import ModuleType

from pytest import MonkeyPatch

FOLDER = Path(__file__).parents[1] / "scripts"


def script(name: str) -> ModuleType:
    """The module that `scripts/NAME.py` is; its main part does not run.

    As when it is run, it finds the scripts beside it and what stands at the top.
    """
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    with MonkeyPatch.context() as patched:
        patched.syspath_prepend(FOLDER)
        spec.loader.exec_module(module)
    return module
