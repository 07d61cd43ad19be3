"""Trials of the service: it is killed, cut off, damaged and starved, and what it acknowledged is counted."""
