"""Measured values of a run, compared with the prediction and the targets."""
