"""Pure computation of the feature table."""
