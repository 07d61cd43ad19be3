"""What a router is compared with: the best fixed mix, the oracle and the supervised reference."""
