"""The report: a plan, and what was measured of it, as one HTML file that needs nothing else."""
