"""What clients send and receive.

Every request is checked against these models before anything else sees it. Their descriptions and examples
make up the OpenAPI document.
"""
