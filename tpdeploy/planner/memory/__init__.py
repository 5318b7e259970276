"""Memory that a rank needs, and the limits that follow from it."""
