"""What is believed of each provider: quality, cost, latency and failure, each learned apart."""
