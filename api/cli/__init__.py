"""The command line: one file per group of commands, around the application in `main`."""
