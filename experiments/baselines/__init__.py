"""What a router is held against: the best fixed mix, the oracle and the supervised reference."""
