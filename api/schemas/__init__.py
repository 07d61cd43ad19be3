"""What clients send and get: every request is checked here, before anything else sees it."""
