"""The served state: a fold of the log, from which decisions are answered.

The follower reads the log's rows in order and hands each to the fold, which passes a route's events to its
`Router`. Decisions are answered from memory and then written to the log.
"""
