"""Fairlead: a router that learns which LLM provider gives the best trade-off for each kind of request."""
