"""The use cases, whatever the transport: decide, report outcomes and feedback, change the configuration.

A use case takes the principal and a checked body, and returns an answer or raises a `Problem`.
"""
