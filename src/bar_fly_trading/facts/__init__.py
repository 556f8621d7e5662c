"""Pure facts: instruments, sessions, accounts, table schemas."""
