"""The use cases: what each request does, whatever the transport."""
