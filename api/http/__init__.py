"""The HTTP edge: what happens to a request before an endpoint sees it.

protocol (time of headers, overload) ─► middleware (key, rate, body) ─► endpoint ─► errors (problem details)
"""
