"""Target policies: the probabilities that a policy to be judged would have given to logged decisions."""
