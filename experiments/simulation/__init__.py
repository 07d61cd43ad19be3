"""Outcome tables played as traffic: from a scenario to the records of each run."""
