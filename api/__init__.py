"""The service and the command line: the outermost package, which connects people to the algorithm."""
