"""The algorithm: from a request's features to a probability per provider, and from outcomes to beliefs."""
