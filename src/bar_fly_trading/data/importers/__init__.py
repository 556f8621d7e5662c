"""Everything that brings files the user already has into the store."""
