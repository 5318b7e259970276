"""Where a member of a deployment runs: one interface, and its implementations."""
