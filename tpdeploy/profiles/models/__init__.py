"""Models: their shapes, and where they come from."""
