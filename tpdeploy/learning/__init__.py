"""What this machine has shown: calibrations, corrections, and how they change predictions."""
