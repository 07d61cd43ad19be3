"""From a feature vector to a prediction per provider: quality, tokens and their price, latency, failure.

`statistics` holds the sums that are learned, `posterior` and `beliefs` what follows from them, and
`prediction` puts the parts together.
"""
