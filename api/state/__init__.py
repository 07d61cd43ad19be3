"""The served state: a fold of the log that answers decisions and learns from what is reported of them."""
