"""Data with provenance: accelerators, fabrics, models, and what this machine has."""
