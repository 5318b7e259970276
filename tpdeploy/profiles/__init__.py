"""Data with provenance: accelerators, fabrics, models, and what this machine has."""

from pathlib import Path

DATA = Path(__file__).parent / "data"
