"""Target policies: the probabilities that each would have given to logged decisions."""
