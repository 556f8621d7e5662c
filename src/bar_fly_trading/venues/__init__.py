"""Brokers: one file each."""
