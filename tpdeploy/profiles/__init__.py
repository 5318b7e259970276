"""Data with sources: accelerators, fabrics, models, and this machine's hardware."""

from pathlib import Path

DATA = Path(__file__).parent / "data"
