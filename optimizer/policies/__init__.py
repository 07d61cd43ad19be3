"""Policies: maps from what is believed of each provider to a probability per provider; one file each."""
