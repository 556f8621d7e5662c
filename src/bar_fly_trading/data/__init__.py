"""Everything that fetches, checks and keeps market data."""
