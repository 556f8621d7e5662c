"""Simulated trading days under faults, and what must hold in every one of them. Not part of the program: it drives it."""
