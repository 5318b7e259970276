"""Engine environments, runtimes, router, state, logs and stop."""
