"""The addresses of the service: one file per subject, each gives a router of FastAPI for a service."""
