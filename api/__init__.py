"""The shell: the outermost room, with the command line, that connects people to the algorithm."""
