"""GPUs, CPUs, links and machines."""
