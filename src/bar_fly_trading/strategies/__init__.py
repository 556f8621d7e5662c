"""Strategies: from a market view to signals."""
