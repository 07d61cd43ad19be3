"""The HTTP edge: what happens to a request before an endpoint sees it."""
