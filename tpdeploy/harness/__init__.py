"""Load generation, measurement, and comparison with prediction and target."""
