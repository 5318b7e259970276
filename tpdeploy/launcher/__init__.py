"""Engine environments, process groups, router, state, logs and stop."""
