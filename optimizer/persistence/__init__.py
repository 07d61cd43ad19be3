"""Logs and snapshots: how what was learned is written and read."""
