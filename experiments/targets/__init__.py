"""Target policies: the probabilities that a policy being judged would have given to the decisions of a log."""
