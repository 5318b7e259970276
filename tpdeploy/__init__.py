"""Plan, launch and validate tensor-parallel LLM serving."""

__version__ = "0.1.0"
