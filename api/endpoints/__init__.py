"""The addresses of the service, one file per subject.

Functions take the `Service` and return its routes; the work itself is done in `service`.
"""
