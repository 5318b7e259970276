"""The parts of `measure.py`, which runs inside an engine's environment."""
