"""Engine environments, runtimes, the front, state, logs and stop."""
