"""Commands of the command line that are about the service."""
