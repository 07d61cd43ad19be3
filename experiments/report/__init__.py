"""The report of a replay: one HTML file that opens offline, with a table behind every chart."""
