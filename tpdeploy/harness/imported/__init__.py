"""Results of other load generators."""
