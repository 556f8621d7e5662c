"""Telling people: mails made, queued in the outbox, sent; and an outside witness pinged. Never stops a run."""
