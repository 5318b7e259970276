"""Faults of a deployment, tried: what clients saw, and how long it took to recover."""
