"""Figures of a run, beside the prediction and the targets."""
