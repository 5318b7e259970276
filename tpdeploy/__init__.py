"""Plan, launch and validate tensor-parallel LLM serving.

>>> import tpdeploy
>>> plan = tpdeploy.plan("llama-70b", gpus="8xH100", concurrency=64)
>>> print(plan.answer)
Use one group of all 8 GPUs: tensor parallel (TP) 8, 1 replica.
"""

# What the names are is in __init__.pyi, for type checkers.

from typing import Any

__version__ = "0.1.0"

__all__ = [
    "Comparison",
    "InfeasibleError",
    "InputError",
    "Plan",
    "Running",
    "TpdeployError",
    "__version__",
    "backtest",
    "compare",
    "estimate",
    "launch",
    "plan",
    "validate",
]

# Where each name is, imported when it is first asked for: `import tpdeploy` costs nothing.
_HOMES = {
    **dict.fromkeys(("backtest", "compare", "estimate", "plan"), "tpdeploy.api.functions"),
    **dict.fromkeys(("launch", "validate"), "tpdeploy.api.serving"),
    "Running": "tpdeploy.api.running",
    **dict.fromkeys(("Comparison", "Plan"), "tpdeploy.api.results"),
    **dict.fromkeys(("InfeasibleError", "InputError", "TpdeployError"), "tpdeploy.errors"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'tpdeploy' has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - as above

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
