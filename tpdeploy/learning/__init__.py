"""Calibrations and corrections of this machine, and how they change predictions."""
