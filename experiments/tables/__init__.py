"""Outcome tables: every prompt with the outcome of every provider."""
