"""Pure decisions: combination, ranking, checks, limits, sizing, plans."""
